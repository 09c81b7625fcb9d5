#!/usr/bin/env python3
"""What Azure and Google cost beside S3: the same backup and restore over one small server that speaks all three.

    benches/clouds.py [--program PATH] [--megabytes 256] [--rounds 5]

The server is the same process for all, keeps objects in memory and checks nothing, so that what differs is
dumpvault's own part. Rounds go in turn; printed are medians of wall and processor time of dumpvault, their ratio to S3's
in the same run, and its peak memory. Exit status 1 where a median ratio of processor time is above 1.10.
"""
import argparse
import base64
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OBJECTS = {}
LOCK = threading.Lock()
# When every object was written: a little before it is asked for.
DATE = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
STAMP = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def put(self, name, body, taken, done):
        with LOCK:
            is_new = OBJECTS.setdefault(name, body) is body
        (done if is_new else taken)()

    def bytes_of(self, name, missing):
        body = OBJECTS.get(name)
        if body is None:
            return self.reply(*missing[0], **missing[1])
        found = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if self.command == "HEAD" or not found:
            return self.reply(200, body, Content_Length=str(len(body)), Last_Modified=DATE, ETag='"1"')
        first, last = int(found[1]), min(int(found[2] or len(body)), len(body) - 1)
        told = f"bytes {first}-{last}/{len(body)}"
        self.reply(206, memoryview(body)[first : last + 1], Content_Range=told, Last_Modified=DATE, ETag='"1"')

    def found(self, dialect, prefix, row):
        with LOCK:
            found = sorted((name, len(body)) for name, body in OBJECTS.items() if name.startswith(dialect + prefix))
        return [row(name[len(dialect) :], size) for name, size in found]

    def serve(self):
        path, _, query = self.path.partition("?")
        path, query = urllib.parse.unquote(path), dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        for start, dialect in (("/s3bucket", self.s3), ("/dev/vault", self.azure), ("", self.gcs)):
            if path.startswith(start):
                return dialect(path[len(start) :].lstrip("/"), query)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def s3(self, name, query):
        body = self.body()
        missing = (404, b"<Error><Code>NoSuchKey</Code></Error>"), {}
        if self.command == "PUT":
            taken = b"<Error><Code>PreconditionFailed</Code></Error>"
            self.put("s3/" + name, body, lambda: self.reply(412, taken), lambda: self.reply(200))
        elif self.command == "DELETE":
            OBJECTS.pop("s3/" + name, None)
            self.reply(204)
        elif not name:
            row = "<Contents><Key>{}</Key><LastModified>" + STAMP + ".000Z</LastModified><Size>{}</Size></Contents>"
            rows = "".join(self.found("s3/", query.get("prefix", ""), row.format))
            page = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
            self.reply(200, page.encode(), Content_Type="application/xml")
        else:
            self.bytes_of("s3/" + name, missing)

    def azure(self, name, query):
        body = self.body()
        missing = (404,), {"x_ms_error_code": "BlobNotFound"}
        if self.command == "PUT":
            taken = lambda: self.reply(409, x_ms_error_code="BlobAlreadyExists")
            self.put("az/" + name, body, taken, lambda: self.reply(201))
        elif self.command == "DELETE":
            OBJECTS.pop("az/" + name, None)
            self.reply(202)
        elif query.get("comp") == "list":
            facts = f"<Last-Modified>{DATE}</Last-Modified><Content-Length>{{}}</Content-Length>"
            row = "<Blob><Name>{}</Name><Properties>" + facts + "</Properties></Blob>"
            rows = "".join(self.found("az/", query.get("prefix", ""), row.format))
            page = f'<?xml version="1.0"?><EnumerationResults><Blobs>{rows}</Blobs><NextMarker></NextMarker></EnumerationResults>'
            self.reply(200, page.encode(), Content_Type="application/xml")
        else:
            self.bytes_of("az/" + name, missing)

    def gcs(self, path, query):
        body = self.body()
        missing = (404, b'{"error":{"code":404,"message":"No such object","errors":[{"reason":"notFound"}]}}'), {}
        if path.startswith("upload/"):
            boundary = re.search(r"boundary=(\S+)", self.headers["Content-Type"])[1].encode()
            facts = body.index(b"\r\n\r\n") + 4
            end = body.index(b"\r\n--" + boundary, facts)
            begin = body.index(b"\r\n\r\n", end) + 4
            name = json.loads(body[facts:end])["name"]
            content = body[begin : len(body) - len(boundary) - 8]
            taken = b'{"error":{"code":412,"message":"no","errors":[{"reason":"conditionNotMet"}]}}'
            done = lambda: self.reply(200, b'{"generation":"1"}')
            return self.put("gs/" + name, content, lambda: self.reply(412, taken), done)
        name = path.partition("/o/")[2]
        if self.command == "DELETE":
            OBJECTS.pop("gs/" + name, None)
            self.reply(204)
        elif not name:
            row = lambda name, size: {"name": name, "size": str(size), "timeCreated": STAMP + "Z"}
            items = self.found("gs/", query.get("prefix", ""), row)
            self.reply(200, json.dumps({"items": items}).encode(), Content_Type="application/json")
        elif query.get("alt") == "media":
            self.bytes_of("gs/" + name, missing)
        elif "gs/" + name in OBJECTS:
            size = str(len(OBJECTS["gs/" + name]))
            self.reply(200, json.dumps({"size": size}).encode(), Content_Type="application/json")
        else:
            self.reply(*missing[0])


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


def measured(command, environment, **pipes):
    """Wall and processor seconds, and peak MiB, of a command that has to succeed."""
    began = time.monotonic()
    child = subprocess.Popen(command, env=environment, **pipes)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)} ended with {child.returncode}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/dist/dumpvault")
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    program = os.path.abspath(options.program)
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        compare(program, f"http://127.0.0.1:{server.stdout.readline().strip()}", options)
    finally:
        server.kill()
        server.wait()


def compare(program, url, options):
    home = tempfile.mkdtemp(prefix="dv-clouds-")
    dump = os.path.join(home, "dump")
    with open(dump, "wb") as out:
        # Rows with random letters between them: half of the bytes compress.
        for row in range(options.megabytes * 8192):
            out.write(b"%07d\t2026-01-01 some words of a row\t%s\n" % (row, base64.b64encode(os.urandom(60))))
    size = os.path.getsize(dump)
    places = {
        "s3": {"DUMPVAULT_REPOSITORY": "s3:" + url + "/s3bucket/{}", "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK"},
        "azure": {"DUMPVAULT_REPOSITORY": "azure:" + url + "/dev/vault/{}", "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"k" * 64).decode()},
        "gcs": {"DUMPVAULT_REPOSITORY": "gs://vault/{}", "STORAGE_EMULATOR_HOST": url},
    }
    figures = {(name, act): [] for name in places for act in ("backup", "restore")}
    for number in range(options.rounds):
        # Whoever goes first meets a colder machine: each does, in turn.
        order = sorted(places)[number % 3 :] + sorted(places)[: number % 3]
        for name in order:
            folder = os.path.join(home, f"{name}{number}")
            os.mkdir(folder)
            environment = {"PATH": os.environ["PATH"], "HOME": folder, "DUMPVAULT_KEY_FILE": folder + "/key"}
            environment |= {word: value.format(f"r{number}") for word, value in places[name].items()}
            measured([program, "-q", "init"], environment, stdin=subprocess.DEVNULL)
            with open(dump, "rb") as source:
                act = [program, "-q", "--no-cache", "backup", "--stdin", "--name", "app"]
                figures[name, "backup"].append(measured(act, environment, stdin=source))
            act = [program, "-q", "--no-cache", "restore", "app", "--to", "-"]
            figures[name, "restore"].append(measured(act, environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    print(f"{size / 1e6:.0f} MB, {options.rounds} rounds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| storage | act | wall s | processor s | wall to S3 | processor to S3 | peak MiB |\n|---|---|---|---|---|---|---|")
    worst = 0
    for (name, act), runs in figures.items():
        ratios = [[own[kind] / base[kind] for own, base in zip(runs, figures["s3", act])] for kind in (0, 1)]
        wall, processor, memory = (statistics.median(run[kind] for run in runs) for kind in (0, 1, 2))
        ratios = [statistics.median(each) for each in ratios]
        worst = max(worst, ratios[1])
        print(f"| {name} | {act} | {wall:.2f} | {processor:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} | {memory:.0f} |")
    subprocess.run(["rm", "-rf", home], check=True)
    sys.exit(worst > 1.10)


if __name__ == "__main__":
    main()
