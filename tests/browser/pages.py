"""The pages in a real browser. `run.sh` beside this installs what it needs."""
import argparse, datetime as dt, http.client, os, pathlib, random, re, signal, socket, sqlite3, statistics, subprocess, sys, tempfile, time
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

options = argparse.ArgumentParser()
for name in ("program", "axe", "pictures", "rows"):
    options.add_argument(f"--{name}", required=True)
options.add_argument("--only", default="")
args = options.parse_args()
PASSWORD = "correct horse battery"
WIDTHS = (360, 768, 1440)
random.seed(7)
home = pathlib.Path(tempfile.mkdtemp(prefix="dv-browser-"))
pictures = pathlib.Path(args.pictures)
pictures.mkdir(parents=True, exist_ok=True)
env = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "XDG_CACHE_HOME": str(home / "cache"), "XDG_CONFIG_HOME": str(home / "config"),
       "TZ": "UTC", "DUMPVAULT_REPOSITORY": str(home / "repository"), "DUMPVAULT_KEY_FILE": str(home / "key"), "TMPDIR": str(home)}
faults = []


def fault(text):
    faults.append(text)
    print("FAULT", text, flush=True)


def dv(*words, stdin="", check=True):
    done = subprocess.run([args.program, *words], env=env, cwd=home, input=stdin.encode(), capture_output=True)
    if check and done.returncode not in (0, 1):
        sys.exit(f"{words}: {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


def now_ms():
    return int(time.time() * 1000)


def seed():
    """A repository with six weeks of a changing shop, and a history with a year of runs."""
    dv("init", "--key-file", str(home / "key"))
    days = [demo_day(number) for number in range(3)]
    start = dt.datetime.now(dt.timezone.utc).replace(hour=3, minute=15, second=3, microsecond=0) - dt.timedelta(days=16)
    for number in range(17):
        at = start + dt.timedelta(days=number)
        if number in (6, 12) or at > dt.datetime.now(dt.timezone.utc):
            continue
        (home / "shop.dump").write_bytes(days[min(2, number // 6)])
        dv("backup", "--series", "shop", "--time", at.strftime("%Y-%m-%dT%H:%M:%SZ"), "--command", "--", "cat", "shop.dump")
        if number % 4 == 0:
            dv("backup", "--series", "sessions", "--time", at.strftime("%Y-%m-%dT%H:%M:%SZ"), "--command", "--", "head", "-c", str(400_000 + number * 9000), "/dev/urandom")
    return start


def demo_day(number):
    """A dump of the demo's database."""
    folder = next(iter(home.glob("dumpvault-demo-*")), None)
    if folder is None:
        dv("demo", "--keep", "--size", "4")
        folder = next(home.glob("dumpvault-demo-*"))
    back = {**env, "DUMPVAULT_REPOSITORY": str(folder / "repository"), "DUMPVAULT_PASSWORD_FILE": str(folder / "passphrase")}
    back.pop("DUMPVAULT_KEY_FILE")
    name = "shop" + (f"~{2 - number}" if number < 2 else "")
    return subprocess.run([args.program, "cat", name], env=back, cwd=home, capture_output=True, check=True).stdout


def history(start, extra):
    """Runs of a year, as the scheduler would have written them."""
    db = sqlite3.connect(home / "state/dumpvault/schedule.sqlite", timeout=30)
    run = "INSERT INTO run(id, job, kind, trigger, slot, status, queued, not_before, attempt, started, ended, parts, reason, exit, log) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    ids = set()

    def ulid(ms):
        while True:
            number, out = (ms << 80) | random.getrandbits(80), ""
            for _ in range(26):
                out, number = letters[number & 31] + out, number >> 5
            if out not in ids:
                ids.add(out)
                return out

    at = now_ms() - 364 * 86_400_000
    day = 0
    while at < now_ms() - 3_600_000:
        day += 1
        bad = day in (40, 41, 130, 233, 300) or random.random() < 0.004
        late = random.random() < 0.03
        took = int(random.gauss(219_000, 14_000))
        if day in (77, 190):
            db.execute("INSERT OR IGNORE INTO slot(job, at, decision, covers, run, decided) VALUES ('nightly', ?, 'missed', 1, NULL, ?)", (at, at))
        else:
            db.execute(run, (ulid(at), "nightly", "backup", "schedule", at, "FAILED" if bad else "COMPLETED", at, at, 3 if bad else 2 if late else 1, at, at + took, "",
                             "the target server failed or is not there (exit code 7)" if bad else None, 7 if bad else 0, "log of the run\n"))
            db.execute(run, (ulid(at + 60_000), "check", "check", "schedule", at, "COMPLETED", at, at, 1, at + 60_000, at + 60_000 + took // 3, "", None, 0, ""))
        at += 86_400_000
    # The backups above were made just now, and are of the past: the history says so, too.
    rows = db.execute("SELECT i.id, r.time FROM invocation i JOIN record r ON r.invocation = i.id").fetchall()
    db.execute("PRAGMA foreign_keys = OFF")
    for old, when in rows:
        new = ulid(when)
        db.execute("UPDATE record SET invocation = ? WHERE invocation = ?", (new, old))
        db.execute("UPDATE invocation SET id = ?, started = ?, ended = ?, words = 'shop' WHERE id = ?", (new, when, when + 219_000, old))
    db.execute("UPDATE record SET duration = 219000 + bytes % 7919, source = series")
    failed = start_ms = int(start.timestamp() * 1000) + 6 * 86_400_000
    new = ulid(failed)
    db.execute("INSERT INTO invocation(id, command, words, started, ended, exit, error, hint, boot, pid, pid_start) VALUES (?, 'backup', 'shop', ?, ?, 7, ?, ?, '', 1, 1)",
               (new, failed, failed + 61_000, "cannot connect to postgres://backup@db1/shop: the server closed the connection", "start the server, or check host and port"))
    if extra:
        for number in range(extra):
            at = start_ms - (number + 1) * 300_000
            new = ulid(at)
            db.execute("INSERT INTO invocation(id, command, words, started, ended, exit, repository, boot, pid, pid_start) VALUES (?, 'backup', 'shop', ?, ?, 0, '/srv/vault', '', 1, 1)", (new, at, at + 1000))
            db.execute("INSERT INTO record VALUES (?, 0, 'shop', 'shop', 'db1', 'COMPLETED', ?, ?, ?, 100, 50, 10, 3, 'daily', 'aa', 'bb', NULL, NULL, 1000)", (new, f"{number:064x}", at, 1_000_000 + number))
            db.execute(run, (ulid(at), "check", "check", "schedule", at, "COMPLETED", at, at, 1, at, at + 1000, "", None, 0, ""))
    db.commit()
    db.close()


CONFIG = """
time_zone = "Europe/Berlin"
host = "db1"
[source.shop]
command = ["sh", "-c", "sleep 2; cat shop.dump"]
[source.sessions]
command = ["head", "-c", "500000", "/dev/urandom"]
[retention]
keep_daily = 7
keep_weekly = 4
keep_monthly = 12
[job.nightly]
sources = ["shop"]
cron = "15 3 * * *"
jitter = "10m"
[job.sessions]
sources = ["sessions"]
every = "6h"
[job.check]
kind = "check"
part = "1/30"
cron = "30 4 * * *"
[job.proof]
kind = "verify"
snapshot = "shop"
cron = "0 5 * * sun"
[job.offsite]
kind = "command"
command = "true"
cron = "0 5 * * *"
enabled = false
[serve]
listen = "127.0.0.1:PORT"
rpo = "24h"
rto = "1h"
contact = "Mara Lindqvist, database on call: +49 30 555 01 234"
"""


def driver(script=True):
    chosen = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"):
        chosen.add_argument(word)
    chosen.binary_location = "/usr/bin/chromium"
    if not script:
        chosen.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    chosen.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=chosen, service=Service("/usr/bin/chromedriver"))
    made.set_page_load_timeout(120)
    return made


def width(browser, wide, high=900):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": wide < 500})


def theme(browser, name):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})


def picture(browser, name, wide):
    high = browser.execute_script("return document.documentElement.scrollHeight")
    width(browser, wide, min(int(high), 6000))
    browser.get_screenshot_as_file(str(pictures / f"{name}-{wide}.png"))


def sign_in(browser, base):
    browser.get(base + "/login")
    browser.find_element(By.ID, "user").send_keys("admin")
    browser.find_element(By.ID, "pw").send_keys(PASSWORD, Keys.ENTER)
    WebDriverWait(browser, 60).until(lambda one: "/login" not in one.current_url)


def cookie(port):
    """Signs in over HTTP: the browser's own way is tried apart."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/login", f"user=admin&password={PASSWORD.replace(' ', '+')}", {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    return connection, answer.getheader("set-cookie").split(";")[0]


def look(browser, base, pages):
    axe = pathlib.Path(args.axe).read_text()
    for name, path in pages.items():
        for shade in ("light", "dark"):
            theme(browser, shade)
            for wide in WIDTHS if shade == "light" else (360, 1440):
                width(browser, wide)
                browser.get(base + path)
                browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
                over = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
                if over > 0:
                    fault(f"{name}: {over} px wider than {wide}")
                if shade == "light" or wide != 768:
                    browser.execute_script(axe)
                    found = browser.execute_async_script("const done = arguments[0]; axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => done(r.violations.map(v => v.id + ': ' + v.help + ' ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(' | '))), e => done([String(e)]))")
                    for one in found:
                        fault(f"{name} {shade} {wide}: {one}")
                browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = d.matches('.fold'))")
                if shade == "light" or wide == 1440:
                    picture(browser, name if shade == "light" else f"{name}-dark", wide)
        for entry in browser.get_log("browser"):
            if entry["level"] == "SEVERE" and "favicon" not in entry["message"] and "401" not in entry["message"]:
                fault(f"{name}: {entry['message']}")


def whole_way(base, script):
    """Creates, sees, downloads and cannot delete a backup: with the keyboard alone, and without JavaScript as well."""
    browser = driver(script)
    try:
        sign_in(browser, base)
        browser.get(base + "/settings/backup")
        source = "shop" if script else "sessions"
        button = browser.find_element(By.ID, "start")
        button.send_keys(Keys.ENTER)
        if script:
            WebDriverWait(browser, 30).until(lambda one: one.find_element(By.ID, "start-dialog").get_attribute("open"))
        else:
            WebDriverWait(browser, 30).until(lambda one: one.current_url.endswith("/run"))
        box = browser.find_element(By.ID, "d-source" if script else "p-source")
        box.send_keys(source)
        box.find_element(By.XPATH, "ancestor::form").find_element(By.CSS_SELECTOR, "button[type=submit]").send_keys(Keys.ENTER)
        WebDriverWait(browser, 60).until(lambda one: one.current_url.endswith("/settings/backup") and ("in progress" in one.page_source or "Manual" in one.page_source))
        if script:
            for wide in (360, 1440):
                width(browser, wide)
                picture(browser, "running", wide)
        def done(one):
            if not script:
                one.get(base + "/settings/backup")
            return "Backup in progress" not in one.page_source
        WebDriverWait(browser, 120, poll_frequency=1).until(done)
        def row(one):
            one.get(base + "/settings/backup")
            return one.find_elements(By.CSS_SELECTOR, "tbody a[href$='/download']")
        WebDriverWait(browser, 120, poll_frequency=2).until(row)
        if not browser.find_elements(By.CSS_SELECTOR, "tbody button[aria-disabled=true]"):
            fault("a backup that cannot be deleted does not say so")
        browser.find_element(By.CSS_SELECTOR, "tbody a[href$='/download']").send_keys(Keys.ENTER)
        WebDriverWait(browser, 30).until(lambda one: "Get the link" in one.page_source)
        for field in browser.find_elements(By.ID, "pw"):
            field.send_keys(PASSWORD)
        browser.find_element(By.CSS_SELECTOR, "main form button").send_keys(Keys.ENTER)
        WebDriverWait(browser, 30).until(lambda one: "Your download" in one.page_source)
    except Exception as error:  # the rest is still worth a look
        fault(f"the way {'with' if script else 'without'} JavaScript: {type(error).__name__} {str(error)[:300]} at {browser.current_url}")
        browser.get_screenshot_as_file(str(pictures / f"fault-{script}.png"))
    finally:
        browser.quit()


def timings(port, paths):
    """The 95th percentile of each page, in milliseconds."""
    connection, own = cookie(port)
    for path in paths:
        took = []
        for _ in range(40):
            begun = time.perf_counter()
            connection.request("GET", path, headers={"Cookie": own})
            answer = connection.getresponse()
            answer.read()
            took.append((time.perf_counter() - begun) * 1000)
            assert answer.status == 200, (path, answer.status)
        took.sort()
        print(f"{path:60} median {statistics.median(took):7.1f} ms  p95 {took[37]:7.1f} ms", flush=True)


start = seed()
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
(home / "dumpvault.toml").write_text(CONFIG.replace("PORT", str(port)))
(home / "dumpvault.toml").chmod(0o600)
dv("user", "add", "admin", "--role", "admin", "--stdin", stdin=PASSWORD + "\n")
history(start, int(args.rows))
serving = subprocess.Popen([args.program, "serve"], env=env, cwd=home, stderr=(home / "serve.log").open("wb"))
try:
    base = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    access = home / "state/dumpvault/access.sqlite"
    while True:
        kept = sqlite3.connect(access, timeout=30).execute("SELECT count(*) FROM kept").fetchone()[0]
        if kept >= 10 or (home / "enough").exists():
            break
        time.sleep(0.5)
    db = sqlite3.connect(home / "state/dumpvault/schedule.sqlite", timeout=30)
    snapshot = db.execute("SELECT snapshot FROM record WHERE series = 'shop' AND bytes > 1000000 AND snapshot NOT LIKE '0000%' ORDER BY invocation DESC LIMIT 1").fetchone()[0]
    good = db.execute("SELECT id FROM run WHERE job = 'nightly' AND status = 'COMPLETED' ORDER BY id DESC LIMIT 1").fetchone()[0]
    bad = db.execute("SELECT id FROM run WHERE status = 'FAILED' ORDER BY id DESC LIMIT 1").fetchone()[0]
    pages = {"overview": "/", "backups": "/settings/backup", "jobs": "/jobs", "job": "/jobs/nightly", "runs": "/runs", "run": f"/runs/{good}", "run-failed": f"/runs/{bad}",
             "series": "/series", "series-shop": "/series/shop", "snapshot": f"/snapshots/{snapshot}", "checks": "/checks", "alerts": "/alerts", "audit": "/audit?verify=1", "account": "/account",
             "admin": "/admin", "confirm": "/settings/backup/run"}
    if args.rows != "0":
        timings(port, ["/", "/settings/backup", "/settings/backup?sort=size", "/settings/backup?status=failed&type=daily", "/runs", "/jobs", "/series/shop", "/api/v1/admin/backup/history", "/api/v1/status", "/api/v1/runs"])
    else:
        if args.only:
            pages = {name: path for name, path in pages.items() if name in args.only.split(",")}
        browser = driver()
        for wide in WIDTHS:
            width(browser, wide)
            browser.get(base + "/login")
            picture(browser, "login", wide)
        name, value = cookie(port)[1].split("=", 1)
        browser.add_cookie({"name": name, "value": value, "path": "/"})
        look(browser, base, pages)
        browser.quit()
        if not args.only:
            whole_way(base, True)
            whole_way(base, False)
finally:
    serving.send_signal(signal.SIGTERM)
    serving.wait(30)
    subprocess.run(["rm", "-rf", str(home)])
print(f"{len(faults)} faults; pictures in {pictures}")
sys.exit(1 if faults else 0)
