"""Runs the contestants of compare.sh in turn and prints what they took. Start it through compare.sh.

A round is a sequence of steps: an empty repository, day 0, day 0 again, each later day, restore. Within a step the contestants
follow each other, and each round starts with another one, so that a machine that gets slower hits all of them. Before each
measured run the input is read once (page cache) and dirty pages are written back.

Wall time is this process's clock; CPU time and peak memory are the kernel's accounts of the processes. A pipeline's CPU time and
memory are the sums of its processes.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20


class Failed(Exception):
    """A command failed or a restored dump differs."""


def spawn(stages, env, stdin, stdout, log):
    """Starts the stages as a pipeline; returns their processes."""
    processes = []
    source = stdin
    for number, argv in enumerate(stages):
        last = number == len(stages) - 1
        process = subprocess.Popen(
            argv, env=env, stdin=source, stdout=stdout if last else subprocess.PIPE, stderr=log
        )
        if source is not stdin:
            source.close()
        source = process.stdout
        processes.append(process)
    return processes


def run(stages, env, scratch, stdin_path=os.devnull, stdout_path=os.devnull):
    """Runs a pipeline to its end and returns wall and CPU seconds and peak memory. Any non-zero exit is a failure."""
    log_path = scratch / "stderr.log"
    memory_files = [scratch / f"memory-{number}" for number in range(len(stages))]
    # Through time(1), because a child's peak memory starts with that of whoever forked it, and this interpreter is large.
    timed = [
        ["/usr/bin/time", "-q", "-f", "%M", "-o", str(memory), *stage] for memory, stage in zip(memory_files, stages)
    ]
    with open(stdin_path, "rb") as stdin, open(stdout_path, "wb") as stdout, open(log_path, "wb") as log:
        # What an earlier run left to be written must not be paid for by one that waits for its own writes.
        os.sync()
        started = time.monotonic()
        processes = spawn(timed, env, stdin, stdout, log)
        cpu = 0.0
        codes = []
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            codes.append(process.returncode)
            cpu += usage.ru_utime + usage.ru_stime
        wall = time.monotonic() - started
    if any(codes):
        shown = " | ".join(" ".join(stage) for stage in stages)
        raise Failed(f"{shown}\nexit codes {codes}\n{log_path.read_text(errors='replace')}")
    # time(1) in some versions puts a message before the format's line.
    peak = sum(int(memory.read_text().split()[-1]) * 1024 for memory in memory_files)
    return {"wall": wall, "cpu": cpu, "memory": peak}


def bytes_below(directory):
    """The length of all files; what `ls` would add up, not blocks on disk."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


class Contestant:
    """One way to back a dump up. `home` is emptied before each round."""

    def __init__(self, name, home):
        self.name = name
        self.home = home
        self.repository = home / "repository"
        self.backups = 0
        self.env = dict(os.environ)

    def reset(self):
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.backups = 0

    def init_command(self):
        """None when there is nothing to set up."""
        return None

    def backup(self, dump):
        """Pipeline, input, output."""
        raise NotImplementedError

    def restore(self, which):
        """Pipeline and input that restore backup number `which` (from 0) to standard output."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError


class Dumpvault(Contestant):
    def __init__(self, name, home, program):
        super().__init__(name, home)
        self.program = program
        self.env |= {
            "DUMPVAULT_PASSWORD": "correct horse battery staple",
            "DUMPVAULT_REPOSITORY": str(self.repository),
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CONFIG_HOME": str(home / "config"),
        }

    def init_command(self):
        return [self.program, "init"]

    def backup(self, dump):
        return [[self.program, "backup", "--stdin", "--series", "bench"]], dump, os.devnull

    def restore(self, which):
        back = self.backups - 1 - which
        snapshot = "latest" if back == 0 else f"bench~{back}"
        return [[self.program, "restore", snapshot, "--output", "-"]], os.devnull

    def version(self):
        return f"{self.program} --version"


class Restic(Contestant):
    """Format version 1 does not compress; version 2 does, and is the default of `init`."""

    def __init__(self, name, home, version):
        super().__init__(name, home)
        self.format = version
        self.options = ["--compression", "auto"] if version == "2" else []
        self.env |= {
            "RESTIC_PASSWORD": "correct horse battery staple",
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_CACHE_DIR": str(home / "cache"),
            "XDG_CACHE_HOME": str(home / "cache"),
        }

    def init_command(self):
        return ["restic", "init", "--repository-version", self.format]

    def backup(self, dump):
        return [["restic", "backup", *self.options, "--stdin", "--stdin-filename", "bench.dump"]], dump, os.devnull

    def restore(self, which):
        listed = subprocess.run(["restic", "snapshots", "--json"], env=self.env, check=True, stdout=subprocess.PIPE)
        snapshots = sorted(json.loads(listed.stdout), key=lambda snapshot: snapshot["time"])
        if len(snapshots) != self.backups:
            raise Failed(f"{self.name} lists {len(snapshots)} snapshots after {self.backups} backups")
        name = "latest" if which == self.backups - 1 else snapshots[which]["id"]
        return [["restic", "dump", name, "/bench.dump"]], os.devnull

    def version(self):
        return "restic version"


class Zstd(Contestant):
    """A new file for each backup."""

    def stored(self, which):
        return self.repository / f"{which}.zst"

    def reset(self):
        super().reset()
        self.repository.mkdir()

    def backup(self, dump):
        return [["zstd", "-q", "-T2", "-1", "-c"]], dump, self.stored(self.backups)

    def restore(self, which):
        return [["zstd", "-q", "-d", "-c"]], self.stored(which)

    def version(self):
        return "zstd --version"


class ZstdPatch(Zstd):
    """What changed against the whole dump before, which has to be on disk to make it and to read it."""

    def reset(self):
        super().reset()
        self.dumps = []

    def options(self, which):
        return ["--long=31", *([f"--patch-from={self.dumps[which - 1]}"] if which else [])]

    def backup(self, dump):
        self.dumps.append(dump)
        # As a stream: it refuses a file that is its own reference.
        options = [*self.options(self.backups), f"--stream-size={dump.stat().st_size}", "-c"]
        return [["zstd", "-q", "-3", *options]], dump, self.stored(self.backups)

    def restore(self, which):
        return [["zstd", "-q", "-d", *self.options(which), "-c", str(self.stored(which))]], os.devnull


class ZstdAge(Zstd):
    """The same, encrypted to a public key."""

    def reset(self):
        super().reset()
        self.key = self.home / "key"
        subprocess.run(["age-keygen", "-o", self.key], check=True, stderr=subprocess.DEVNULL)
        made = subprocess.run(["age-keygen", "-y", self.key], check=True, stdout=subprocess.PIPE, text=True)
        self.recipient = made.stdout.strip()

    def backup(self, dump):
        stages = [["zstd", "-q", "-1", "-T2", "-c"], ["age", "-r", self.recipient]]
        return stages, dump, self.stored(self.backups)

    def restore(self, which):
        return [["age", "-d", "-i", str(self.key)], ["zstd", "-q", "-d", "-c"]], self.stored(which)

    def version(self):
        return "age --version"


def contestant(name, scratch, dumpvault):
    home = scratch / name
    match name:
        case "dumpvault":
            return Dumpvault(name, home, dumpvault)
        case "restic-v1" | "restic-v2":
            return Restic(name, home, name[-1])
        case "zstd":
            return Zstd(name, home)
        case "zstd-patch":
            return ZstdPatch(name, home)
        case "zstd-age":
            return ZstdAge(name, home)
    raise Failed(f"unknown contestant {name}")


def warm(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(4 * MIB):
            pass


def run_step(tool, step, dumps, scratch):
    """Measures one step of one contestant; `step` is (title, day), the day None for the restore."""
    title, day = step
    if day is None:
        oldest = title == "restore first"
        stages, stdin = tool.restore(0 if oldest else tool.backups - 1)
        os.sync()
        return run(stages, tool.env, scratch, stdin) | {"plain": dumps[0 if oldest else -1].stat().st_size}
    before = bytes_below(tool.repository)
    stages, stdin, stdout = tool.backup(dumps[day])
    warm(stdin)
    os.sync()
    measured = run(stages, tool.env, scratch, stdin, stdout)
    tool.backups += 1
    after = bytes_below(tool.repository)
    return measured | {"plain": stdin.stat().st_size, "added": after - before, "stored": after}


def prove_restores(tool, days_of_backups, dumps, scratch):
    """Every backup of the round must come back as it was, not only the newest."""
    for which, day in enumerate(days_of_backups):
        stages, stdin = tool.restore(which)
        try:
            run([*stages, ["cmp", "-", str(dumps[day])]], tool.env, scratch, stdin)
        except Failed as error:
            raise Failed(f"{tool.name}: backup {which} does not restore as day {day} was: {error}") from error


def run_rounds(tools, steps, dumps, rounds, scratch):
    """Measurements by (tool's name, step's title), one list entry for each run."""
    results = {}
    for round_number in range(rounds):
        turn = round_number % len(tools)
        order = tools[turn:] + tools[:turn]
        for tool in order:
            tool.reset()
            command = tool.init_command()
            if command:
                run([command], tool.env, scratch)
        for step in steps:
            for tool in order:
                measured = run_step(tool, step, dumps, scratch)
                results.setdefault((tool.name, step[0]), []).append(measured)
                speed = measured["plain"] / 1e6 / measured["wall"]
                print(f"round {round_number + 1}  {step[0]:<12} {tool.name:<10} {speed:8.0f} MB/s", file=sys.stderr)
        days_of_backups = [day for _, day in steps if day is not None]
        for tool in order:
            prove_restores(tool, days_of_backups, dumps, scratch)
            shutil.rmtree(tool.home)
    return results


COLUMNS = ["step", "tool", "wall s", "CPU s", "MB/s", "memory MiB", "added MB", "stored MB", "time ratio", "stored ratio"]


def table(results, titles, names):
    """Medians over all runs of a step; the peak is the highest of them. Ratios are to dumpvault: above 1, it needs less."""

    def median(runs, key):
        return statistics.median(measured[key] for measured in runs)

    def in_the_end(runs):
        # A round's backups only ever add: the largest is what the step's last run left.
        return max(measured["stored"] for measured in runs)

    rows = []
    for title in titles:
        base = results.get(("dumpvault", title))
        for name in names:
            runs = results[(name, title)]
            wall = median(runs, "wall")
            row = [title, name, f"{wall:.2f}", f"{median(runs, 'cpu'):.2f}"]
            row.append(f"{median(runs, 'plain') / 1e6 / wall:.0f}")
            row.append(f"{max(measured['memory'] for measured in runs) / MIB:.0f}")
            stored = "added" in runs[0]
            row += [f"{median(runs, 'added') / 1e6:.2f}", f"{in_the_end(runs) / 1e6:.2f}"] if stored else ["", ""]
            row.append(f"{wall / median(base, 'wall'):.2f}" if base else "")
            base_stored = in_the_end(base) if base and stored else 0
            row.append(f"{in_the_end(runs) / base_stored:.2f}" if base_stored else "")
            rows.append(row)
    return rows


def as_text(rows):
    widths = [max(len(row[n]) for row in [COLUMNS, *rows]) for n in range(len(COLUMNS))]
    lines = []
    for number, row in enumerate([COLUMNS, *rows]):
        if number == 0 or row[0] != rows[number - 2][0]:
            lines.append("")
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:])]
        lines.append("  ".join(left + right).rstrip())
    return "\n".join(lines)


def as_markdown(rows):
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "|".join(["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def facts(tools, dumps, rounds, series):
    """What a reader has to know to judge the numbers."""
    cpu = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    versions = []
    for command in dict.fromkeys(tool.version() for tool in tools):
        shown = subprocess.run(command.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        first = (shown.stdout.strip() or "no version").splitlines()[0].strip("* ")
        versions.append(f"{Path(command.split()[0]).name}: {first}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    return [
        f"{time.strftime('%Y-%m-%d')}, commit {commit or 'unknown'}, {cpu}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory:.0f} GiB, Linux {platform.release()}",
        "; ".join(versions),
        f"{series}, day 0 {dumps[0].stat().st_size / 1e6:.0f} MB, {len(dumps) - 1} later days, "
        f"{rounds} rounds, median; input in the page cache; memory is the peak, summed over a pipeline",
        "MB are 1,000,000 bytes; added: by one such backup; stored: the whole repository after the step's last; ratios: this tool / dumpvault",
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--days", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--dumpvault", required=True)
    parser.add_argument("--series", required=True)
    parser.add_argument("--result", type=Path, required=True)
    args = parser.parse_args()
    dumps = [args.scratch / f"day-{day}.dump" for day in range(args.days + 1)]
    try:
        tools = [contestant(name, args.scratch, args.dumpvault) for name in args.tools.split()]
        if not tools or args.rounds < 1:
            raise Failed("nothing to run")
        # The days are one step with several runs; so are the rounds.
        steps = [("first", 0), ("same again", 0), *[("next day", day) for day in range(1, args.days + 1)]]
        steps += [("restore", None), ("restore first", None)]
        results = run_rounds(tools, steps, dumps, args.rounds, args.scratch)
    except Failed as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    rows = table(results, dict.fromkeys(title for title, _ in steps), [tool.name for tool in tools])
    lines = facts(tools, dumps, args.rounds, args.series)
    markdown = "\n".join(f"- {line}" for line in lines) + "\n\n" + as_markdown(rows) + "\n"
    args.result.write_text(markdown)
    print("\n".join(lines) + "\n" + as_text(rows) + "\n\n" + markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
