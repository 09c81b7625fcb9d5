//! The program's whole life over OpenSSH's server.

use crate::cli::{Output, Vault, exit, run};
use crate::sshd::Sshd;
use serde_json::Value;
use std::fmt::Write as _;

/// A dump of so many rows, some of which changed.
pub fn table(rows: usize, is_changed: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut text = String::from("COPY public.t (id, at, note) FROM stdin;\n");
    for row in 0..rows {
        let at = if is_changed(row) { row * 7 + 1 } else { row };
        writeln!(
            text,
            "{row}\t2026-01-{:02} {at}\tnote {}",
            row % 28 + 1,
            blake3::hash(&at.to_le_bytes()).to_hex()
        )
        .unwrap();
    }
    text.push_str("\\.\n");
    text.into_bytes()
}

/// The program with a configuration that leads to a repository elsewhere.
pub struct Life {
    pub vault: Vault,
}

impl Life {
    pub fn new(configuration: &str) -> Self {
        let vault = Vault::empty();
        std::fs::write(vault.work().join("dumpvault.toml"), configuration).unwrap();
        Self { vault }
    }

    pub fn prepared(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.vault.command([&["--config", "dumpvault.toml"], args].concat());
        command.env_remove("DUMPVAULT_REPOSITORY").env("DUMPVAULT_KEY_FILE", self.vault.key_file());
        command
    }

    pub fn command(&self, args: &[&str], stdin: &[u8]) -> Output {
        run(self.prepared(args), stdin)
    }

    pub fn backup(&self, dump: &[u8]) -> Value {
        self.command(&["--json", "backup", "--stdin", "--series", "app"], dump).expect(exit::OK).json()
    }

    pub fn restored(&self, options: &[&str]) -> Vec<u8> {
        self.command(&[options, &["restore", "app", "--output", "-"]].concat(), b"").expect(exit::OK).stdout
    }

    /// Init, backups, restores, check, a copy and its restore, forget, prune, doctor.
    pub fn live(&self, name: &str, copy: &str) {
        self.command(&["snapshots"], b"").expect(exit::NO_REPOSITORY);
        self.command(&["init"], b"").expect(exit::OK);
        let (first, second) = (table(60_000, |_| false), table(60_000, |row| row % 97 == 0));
        let counted = [&first, &second, &second].map(|dump| self.backup(dump)["requests"]["total"].as_u64());
        crate::night::holds(name, [None, counted[0], counted[1], counted[2], None, None, None]);
        assert!(self.restored(&[]) == second);
        assert!(self.restored(&["--no-cache"]) == second);
        self.command(&["check", "--read-data"], b"").expect(exit::OK).does_not_say("damaged");

        self.command(&["copy", "--to", copy, "--init"], b"").expect(exit::OK);
        self.command(&["copy", "--to", copy], b"").expect(exit::OK);
        assert!(self.restored(&["--repo", copy, "--no-cache"]) == second);
        self.command(&["--repo", copy, "check", "--read-data"], b"").expect(exit::OK);

        self.command(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
        self.command(&["prune", "--grace", "0"], b"").expect(exit::OK);
        self.command(&["check", "--read-data"], b"").expect(exit::OK);
        assert!(self.restored(&["--no-cache"]) == second);
        self.command(&["doctor"], b"").expect(exit::OK).does_not_say("ERROR");
    }
}

#[test]
fn given_openssh_then_the_program_does_all_that_it_does() {
    let server = Sshd::start();
    let life = Life::new(&format!("repository = \"{}\"\n{}", server.address("deep/repo"), server.table()));
    life.live("SFTP", &server.address("copy"));
    // What was unfinished is gone, and what there is is nobody else's to read.
    let tmp = std::fs::read_dir(server.path("deep/repo/tmp")).unwrap().count();
    assert_eq!(tmp, 0);
    let doctor = life.command(&["doctor"], b"").expect(exit::OK).text();
    life.command(&["object-lock", "extend"], b"")
        .expect(exit::USAGE)
        .says("SFTP servers and rclone remotes have no object locks");
    assert!(doctor.contains("hard links, which never replace"), "{doctor}");
    assert!(doctor.contains("synced to the server's disk"), "{doctor}");
}

#[test]
fn given_an_account_that_can_only_add_then_it_backs_up_and_cannot_delete() {
    let server = Sshd::start();
    let owner = Life::new(&format!("repository = \"{}\"\n{}", server.address("repo"), server.table()));
    owner.command(&["init"], b"").expect(exit::OK);
    let denied = "remove,rename,posix-rename,rmdir,setstat,fsetstat,symlink";
    let adder = Sshd::start_with(&format!("ForceCommand internal-sftp -P {denied}"));
    let repository = format!("sftp:vault:{}", server.path("repo").display());
    let life = Life::new(&format!("repository = \"{repository}\"\n{}", adder.table()));
    std::fs::copy(owner.vault.key_file(), life.vault.key_file()).unwrap();
    let (first, second) = (table(1_000, |_| false), table(1_000, |row| row == 7));
    life.backup(&first);
    life.backup(&second);
    assert!(life.restored(&[]) == second);
    let doctor = life.command(&["doctor"], b"").expect(exit::OK).text();
    assert!(doctor.contains("this host cannot delete backups"), "{doctor}");
    life.command(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::NOTHING_DONE);
    // Whoever may delete forgets, prunes, and clears up.
    owner.command(&["forget", "--keep-last", "1", "--force"], b"").expect(exit::OK);
    owner.command(&["check", "--read-data"], b"").expect(exit::OK);
    assert!(owner.restored(&["--no-cache"]) == second);
}

#[test]
fn given_a_chroot_then_an_absolute_address_begins_there() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let chroot = tempfile::Builder::new().prefix("dv-chroot-").tempdir_in("/").unwrap();
    std::fs::set_permissions(chroot.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server =
        Sshd::start_with(&format!("ChrootDirectory {}\nForceCommand internal-sftp", chroot.path().display()));
    let life = Life::new(&format!("repository = \"sftp://vault//db1\"\n{}", server.table()));
    life.command(&["init"], b"").expect(exit::OK);
    life.backup(&table(100, |_| false));
    assert!(chroot.path().join("db1/config").exists());
}

#[test]
fn given_a_copy_and_a_run_in_the_configuration_then_they_go_to_the_server() {
    let (here, there) = (Sshd::start(), Sshd::start());
    let vault_table = format!(
        "repository = \"{}\"\n{}limit_upload = \"200M\"\n[source.app]\ncommand = [\"seq\", \"1000\"]\n[system.s]\nsources = [\"app\"]\ncopy = [\"offsite\"]\n\
         [copy.offsite]\nrepository = \"{}\"\n[copy.offsite.sftp]\ncommand = [\"ssh\", \"-F\", \"{}\"]\n",
        here.address("repo"),
        "",
        there.address("copy"),
        there.config().display()
    );
    let table = format!("{vault_table}{}", here.table());
    let life = Life::new(&table);
    life.command(&["config", "check"], b"").expect(exit::OK);
    life.command(&["init"], b"").expect(exit::OK);
    life.command(&["backup", "app"], b"").expect(exit::OK);
    life.command(&["copy", "--init"], b"").expect(exit::OK);
    let snapshots = || std::fs::read_dir(there.path("copy/snapshots")).unwrap().count();
    assert_eq!(snapshots(), 1);
    life.command(&["run", "s"], b"").expect(exit::OK);
    assert_eq!(snapshots(), 2);
}
