//! A Redis or Valkey server of the test's own: real, private, gone when the test is. `tests/run.sh --prepare` installs
//! them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// All that are tested, oldest format first.
pub const ALL: [&str; 5] = ["redis62", "redis70", "valkey81", "valkey91", "redis82"];

/// A running server.
pub struct Redis {
    child: Child,
    pub kind: &'static str,
    pub port: u16,
    home: tempfile::TempDir,
    settings: Vec<String>,
    password: std::sync::OnceLock<String>,
}

/// Masters that share their keys, each with a third of the slots.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start(kind: &'static str) -> Self {
        let nodes: Vec<Redis> = (0..3)
            .map(|_| {
                let bus = free_port().to_string();
                Redis::start_with(kind, &["--cluster-enabled", "yes", "--cluster-port", &bus])
            })
            .collect();
        for (node, (from, to)) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
            node.client().good(&format!("CLUSTER ADDSLOTSRANGE {from} {to}"));
        }
        for node in &nodes[1..] {
            let bus = node.ask("CONFIG GET cluster-port");
            let bus = bus.split(' ').nth(1).unwrap().to_owned();
            nodes[0].client().good(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
        }
        for node in &nodes {
            node.wait("CLUSTER INFO", |told| {
                told.contains("cluster_state:ok") && told.contains("cluster_known_nodes:3")
            });
            node.wait("CLUSTER SLOTS", |told| {
                told.contains("10923") && told.contains("5461") && told.contains("5460")
            });
        }
        Self { nodes }
    }

    /// Sets a key on the node that has its slot.
    pub fn set(&self, key: &str, value: &str) {
        let taken = self.nodes.iter().find(|node| node.ask(&format!("SET {key} {value}")) == "OK");
        assert!(taken.is_some(), "{key}");
    }

    pub fn get(&self, key: &str) -> Option<String> {
        self.nodes
            .iter()
            .map(|node| node.ask(&format!("GET {key}")))
            .find(|value| !value.starts_with("MOVED"))
    }

    pub fn keys(&self) -> u64 {
        self.nodes.iter().map(|node| node.ask("DBSIZE").parse::<u64>().unwrap()).sum()
    }
}

/// Watches a master, and makes its replica the master when it is gone.
pub fn sentinel(master: &Redis, name: &str) -> Redis {
    let home = tempfile::Builder::new().prefix("dv-sentinel-").tempdir().unwrap();
    let link =
        home.path().join(if master.kind.starts_with("valkey") { "valkey-server" } else { "redis-server" });
    std::os::unix::fs::symlink(program(master.kind), &link).unwrap();
    let (port, file) = (free_port(), home.path().join("sentinel.conf"));
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {name} 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds {name} 300\nsentinel failover-timeout {name} 3000\n",
        home.path().display(),
        master.port
    );
    std::fs::write(&file, text).unwrap();
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let child =
        Command::new(&link).arg(&file).arg("--sentinel").stdout(log).stderr(Stdio::null()).spawn().unwrap();
    let server =
        Redis { child, kind: master.kind, port, home, settings: Vec::new(), password: Default::default() };
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where a server's program is.
fn program(kind: &str) -> PathBuf {
    let named = std::env::var_os(format!("DUMPVAULT_TEST_{}", kind.to_uppercase())).map(PathBuf::from);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let places = [target.join(format!("test-redis/{kind}/server"))];
    let found = named.into_iter().chain(places).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{kind} is not installed: `tests/run.sh --prepare`"))
}

impl Redis {
    /// An empty server that writes nothing by itself.
    pub fn start(kind: &'static str) -> Self {
        Self::start_with(kind, &[])
    }

    /// The same with more settings.
    pub fn start_with(kind: &'static str, settings: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("dv-redis-").tempdir().unwrap();
        // Debian's looks at the name that it is called by.
        let name = if kind.starts_with("valkey") { "valkey-server" } else { "redis-server" };
        let link = home.path().join(name);
        std::os::unix::fs::symlink(program(kind), &link).unwrap();
        let settings: Vec<String> = settings.iter().map(|word| (*word).to_owned()).collect();
        // Another process may take the port between the look and the start: then the next one is tried.
        let (child, port) = (0..10)
            .find_map(|_| {
                let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
                run_server(&link, home.path(), port, &settings).map(|child| (child, port))
            })
            .unwrap_or_else(|| panic!("{kind} did not start on any of 10 ports"));
        Self { child, kind, port, home, settings, password: Default::default() }
    }

    /// Ends the process as a power cut does, and starts it again.
    pub fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let name = if self.kind.starts_with("valkey") { "valkey-server" } else { "redis-server" };
        let link = self.home.path().join(name);
        self.child = run_server(&link, self.home.path(), self.port, &self.settings).unwrap();
    }

    /// From now on the test logs in with this.
    pub fn login(&self, password: &str) {
        self.password.set(password.to_owned()).unwrap();
    }

    pub fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn client(&self) -> Client {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Client(BufReader::new(socket));
        if let Some(password) = self.password.get() {
            client.words(&["AUTH", password]);
        }
        client
    }

    /// Asks one thing.
    pub fn ask(&self, words: &str) -> String {
        self.client().ask(words)
    }

    /// Whether the process is there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks until the answer is as wanted.
    #[track_caller]
    pub fn wait(&self, words: &str, is_wanted: impl Fn(&str) -> bool) {
        let began = std::time::Instant::now();
        while !is_wanted(&self.ask(words)) {
            assert!(began.elapsed() < Duration::from_secs(60), "{words}: {}", self.ask(words));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A field of `INFO`.
    pub fn info(&self, name: &str) -> Option<String> {
        let text = self.ask("INFO");
        let of = |line: &str| line.trim_end().strip_prefix(name)?.strip_prefix(':').map(str::to_owned);
        text.lines().find_map(of)
    }

    /// Everything that it holds, in a form that is the same for the same data.
    pub fn contents(&self) -> String {
        let mut client = self.client();
        let mut all = Vec::new();
        for database in [0, 5] {
            client.ask(&format!("SELECT {database}"));
            let mut keys: Vec<String> = client.list("KEYS *");
            keys.sort();
            for key in keys {
                let kind = client.ask(&format!("TYPE {key}"));
                let mut value = match kind.as_str() {
                    "string" => vec![client.ask(&format!("GET {key}"))],
                    "list" => client.list(&format!("LRANGE {key} 0 -1")),
                    "set" => client.list(&format!("SMEMBERS {key}")),
                    "hash" => client.list(&format!("HGETALL {key}")),
                    "zset" => client.list(&format!("ZRANGE {key} 0 -1 WITHSCORES")),
                    "stream" => {
                        let mut value = client.list(&format!("XRANGE {key} - +"));
                        value.extend(client.list(&format!("XPENDING {key} group")));
                        value
                    }
                    other => panic!("{other}"),
                };
                if matches!(kind.as_str(), "set" | "hash") {
                    value.sort();
                }
                let expires = client.ask(&format!("PTTL {key}")) != "-1";
                all.push(format!("{database} {key} {kind} {expires} {}", value.join(" ")));
            }
        }
        let functions = client.list("FUNCTION LIST").join(" ");
        all.push(if functions.starts_with("ERR") { String::new() } else { functions });
        all.join("\n")
    }

    /// Values of all kinds in two databases: small and large, with and without an end, a stream with a group,
    /// functions.
    pub fn fill(&self) -> usize {
        let mut client = self.client();
        for at in 0..300 {
            let end = if at % 3 == 0 { " EX 100000" } else { "" };
            client.good(&format!("SET session:{at} value{}{end}", "x".repeat(at)));
        }
        client.good("SET number 70000");
        client.good(&format!("SET compressed {}", "abc".repeat(5000)));
        for count in [5, 600] {
            for at in 0..count {
                for command in [
                    format!("RPUSH l:{count} item{at}"),
                    format!("SADD s:{count} member{at}"),
                    format!("SADD si:{count} {at}"),
                    format!("ZADD z:{count} {at}.5 member{at}"),
                    format!("HSET h:{count} field{at} {}", "v".repeat(70)),
                    format!("XADD x:{count} {}-1 a {at}", at + 1),
                ] {
                    client.good(&command);
                }
            }
        }
        client.good("XGROUP CREATE x:5 group 0");
        client.good("XGROUP CREATE x:600 group $");
        client.good("XREADGROUP GROUP group me COUNT 3 STREAMS x:5 >");
        if self.kind != "redis62" {
            let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
            client.words(&["FUNCTION", "LOAD", code]);
        }
        client.good("SELECT 5");
        client.good("SET other:1 x");
        client.good("SET plain y");
        // 300, number, compressed, 6 of each size; 2 in the other database.
        300 + 2 + 12 + 2
    }
}

/// Starts a server and waits until it can be asked; `None` when it ended.
fn run_server(program: &Path, home: &Path, port: u16, settings: &[String]) -> Option<Child> {
    let mut child = Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(home)
        .args(["--unixsocket", "s", "--repl-diskless-sync-delay", "0"])
        .args(settings)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = |line: std::io::Result<String>| {
        line.is_ok_and(|line| line.to_lowercase().contains("ready to accept connections"))
    };
    if !lines.any(is_ready) {
        child.wait().unwrap();
        return None;
    }
    let mut log = std::fs::File::create(home.join("log")).unwrap();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(writeln!(log, "{line}"))));
    Some(child)
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Speaks to a server.
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Words without blanks in them.
    pub fn ask(&mut self, line: &str) -> String {
        self.list(line).join(" ")
    }

    #[track_caller]
    pub fn good(&mut self, line: &str) {
        let answer = self.ask(line);
        assert!(!answer.starts_with("ERR"), "{line}: {answer}");
    }

    /// All that it answers, as a flat list.
    pub fn list(&mut self, line: &str) -> Vec<String> {
        self.words(&line.split(' ').collect::<Vec<_>>())
    }

    pub fn words(&mut self, words: &[&str]) -> Vec<String> {
        let mut message = format!("*{}\r\n", words.len());
        for word in words {
            message += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(message.as_bytes()).unwrap();
        let mut all = Vec::new();
        self.reply(&mut all);
        all
    }

    fn reply(&mut self, all: &mut Vec<String>) {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the server is gone");
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "$" if rest != "-1" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                all.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            "*" => (0..rest.parse::<i64>().unwrap()).for_each(|_| self.reply(all)),
            _ => all.push(rest.to_owned()),
        }
    }
}
