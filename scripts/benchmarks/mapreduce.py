#!/usr/bin/env python3
"""MapReduce against its peers, in one run on one machine: word count, grep, sort, start-up.

Usage: scripts/bench mapreduce [--quick | --full] [--runs N] [--only WORD]
  --quick   10 MB and one run, for continuous integration: checks that everything works
  --full    1 GB instead of 100 MB (generated Zipf text, 10 million sort records)
Every program must print the same counts, or its row says so. A row shows the median of 5 runs (wall
clock), what that is in MB/s, and the peak memory of the largest process.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.join(ROOT, "scripts/benchmarks/mapreduce")
BUILD = os.path.join(ROOT, "build/bench")
PERILUNE = os.environ.get("PERILUNE", os.path.join(ROOT, "build/release/perilune"))
MEGABYTE = 1000 * 1000
ENVIRONMENT = dict(os.environ, LC_ALL="C", NODE_PATH=os.path.join(BUILD, "node_modules"))


def run(command, output):
    """Runs a shell command; returns wall seconds and the peak memory of its largest process in bytes."""
    peak = os.path.join(BUILD, "peak")
    with open(output, "wb") as sink:
        start = time.monotonic()
        done = subprocess.run([os.path.join(BUILD, "measure"), peak, command], stdout=sink, cwd=BUILD,
                              stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)
        seconds = time.monotonic() - start
    if done.returncode != 0:
        raise RuntimeError(f"{command}: status {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    with open(peak, encoding="ascii") as file:
        return seconds, int(file.read()) * 1024


class Table:
    """Measures programs, prints rows as they come, and remembers the medians for the ratios."""

    def __init__(self, options):
        self.options = options
        self.seconds = {}

    def heading(self, text):
        print(f"\n{text}\n  {'program':34} {'seconds':>8} {'MB/s':>8} {'memory':>9}", flush=True)

    def row(self, name, command, size, check=None):
        if self.options.only and self.options.only not in name:
            return
        times, memory, verdict = [], 0, ""
        try:
            for _ in range(self.options.runs):
                seconds, peak = run(command, os.path.join(BUILD, "out"))
                times.append(seconds)
                memory = max(memory, peak)
            verdict = check() if check else ""
        except RuntimeError as error:
            print(f"  {name:34} failed: {error}", flush=True)
            return
        self.seconds[name] = statistics.median(times)
        rate = f"{size / MEGABYTE / self.seconds[name]:8.1f}" if size else " " * 8
        print(f"  {name:34} {self.seconds[name]:8.3f} {rate} {memory / 2**20:6.1f} MiB {verdict}", flush=True)

    def ratio(self, what, ours, peer, goal):
        """ours and peer are rows of equal work: how many times faster ours is."""
        if ours in self.seconds and peer in self.seconds:
            value = self.seconds[peer] / self.seconds[ours]
            verdict = "reached" if value >= goal else "missed"
            print(f"  {what:58} {value:6.2f}x  goal {goal:.2f}x  {verdict}")


def perilune_mr(job, path, more=""):
    out = os.path.join(BUILD, "mr")
    return f"{PERILUNE} mr {job} {path} -o {out} --force --quiet {more}"


def digest(path):
    with open(path, "rb") as file:
        return hashlib.md5(b"".join(sorted(file.read().splitlines(True)))).hexdigest()


def digest_parts():
    folder = os.path.join(BUILD, "mr")
    lines = []
    for name in sorted(os.listdir(folder)):
        if name.startswith("part-"):
            with open(os.path.join(folder, name), "rb") as file:
                lines += file.read().splitlines(True)
    return hashlib.md5(b"".join(sorted(lines))).hexdigest()


def make_books(size):
    """The books of examples/data, over and over."""
    path = os.path.join(BUILD, f"books-{size // MEGABYTE}.txt")
    if not os.path.exists(path):
        folder = os.path.join(ROOT, "examples/data")
        books = [open(os.path.join(folder, name), "rb").read() for name in sorted(os.listdir(folder))
                 if name.startswith("pg-")]
        with open(path + ".tmp", "wb") as file:
            while file.tell() < size:
                for book in books:
                    file.write(book)
        os.rename(path + ".tmp", path)
    return path


def make_zipf(size):
    """Lines of letters-only words whose frequencies follow Zipf's law with exponent 1."""
    path = os.path.join(BUILD, f"zipf-{size // MEGABYTE}.txt")
    if not os.path.exists(path):
        generator = random.Random(1)
        words = sorted({"".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 12)))
                        for _ in range(300000)})
        generator.shuffle(words)
        weights = [1 / (rank + 1) for rank in range(len(words))]
        total, cumulated = 0, []
        for weight in weights:
            total += weight
            cumulated.append(total)
        with open(path + ".tmp", "w", encoding="ascii") as file:
            while file.tell() < size:
                batch = generator.choices(words, cum_weights=cumulated, k=80000)
                file.write("\n".join(" ".join(batch[i:i + 8]) for i in range(0, len(batch), 8)) + "\n")
        os.rename(path + ".tmp", path)
    return path


def make_records(count):
    path = os.path.join(BUILD, f"records-{count}")
    if not os.path.exists(path):
        run(f"{PERILUNE} run {ROOT}/examples/tools/gensort.lua {count} {path}.tmp", os.devnull)
        os.rename(path + ".tmp", path)
    return path


def have_duckdb():
    """Installs DuckDB into build/bench once, where npm can get it."""
    if not shutil.which("npm"):
        return False
    if os.path.isdir(os.path.join(BUILD, "node_modules/@duckdb/node-api")):
        return True
    done = subprocess.run(["npm", "install", "--prefix", BUILD, "--no-fund", "--no-audit", "--loglevel=error",
                           "@duckdb/node-api"], capture_output=True, check=False)
    return done.returncode == 0


def word_count(table, path):
    size = os.path.getsize(path)
    table.heading(f"Word count, {size / MEGABYTE:.0f} MB ({os.path.basename(path)})")
    expected = {}

    def peer_check():
        expected.setdefault("md5", digest(os.path.join(BUILD, "out")))
        return "" if digest(os.path.join(BUILD, "out")) == expected["md5"] else "WRONG COUNTS"

    def our_check():
        return "" if digest_parts() == expected.get("md5", digest_parts()) else "WRONG COUNTS"

    table.row("C hash table", f"./wordcount {path}", size, peer_check)
    table.row("mawk", "mawk -F '[^A-Za-z]+' '{ for (i = 1; i <= NF; i++) if ($i != \"\") n[$i]++ } "
              f"END {{ for (w in n) print w, n[w] }}' {path}", size, peer_check)
    table.row("tr | sort | uniq -c", f"tr -cs A-Za-z '\\n' <{path} | grep . | sort | uniq -c | "
              "awk '{ print $2, $1 }'", size, peer_check)
    table.row("Lua script", f"lua5.4 {HERE}/wordcount.lua {path}", size, peer_check)
    table.row("Python Counter", f"python3 {HERE}/wordcount.py {path} 1", size, peer_check)
    table.row("Python Counter, 2 processes", f"python3 {HERE}/wordcount.py {path} 2", size, peer_check)
    if have_duckdb():
        for threads in (1, 2):
            table.row(f"DuckDB, {threads} threads", f"node {HERE}/duckdb.js {path} {threads}", size, peer_check)
    else:
        print("  DuckDB: npm could not get it")
    for workers in (1, 2):
        for job in ("gmatch", "words", "bulk"):
            table.row(f"perilune {job}, {workers} workers",
                      perilune_mr(f"{HERE}/{job}.lua", path, f"--workers {workers}"), size, our_check)


def grep(table, path):
    size = os.path.getsize(path)
    table.heading(f"Lines with 'Holmes', {size / MEGABYTE:.0f} MB")
    table.row("grep -c", f"grep -c Holmes {path}", size)
    for workers in (1, 2):
        table.row(f"perilune grep, {workers} workers",
                  perilune_mr(f"{HERE}/grep.lua", path, f"--arg text=Holmes --workers {workers}"), size)


def sort(table, count):
    path = make_records(count)
    size = os.path.getsize(path)
    memory = 64 if table.options.quick else 256
    table.heading(f"Sort of {count} records of 100 bytes, {memory} MiB of memory")

    def check(name):
        def judge():
            done = subprocess.run([PERILUNE, "run", f"{ROOT}/examples/tools/valsort.lua", os.path.join(BUILD, name)],
                                  capture_output=True, check=False)
            return "" if done.returncode == 0 else "NOT SORTED"
        return judge

    for threads in (1, 2):
        table.row(f"GNU sort, {threads} threads",
                  f"sort -S {memory}M --parallel={threads} -T {BUILD} -o {BUILD}/sorted {path}", size,
                  None if threads > 1 else check("sorted"))
    for workers in (1, 2):
        table.row(f"perilune sort, {workers} workers",
                  perilune_mr(f"{ROOT}/examples/jobs/sort.lua", path,
                              f"--workers {workers} --memory {memory // workers}M"), size, check("mr"))


def start_up(table):
    table.heading("Start-up")
    empty, line = os.path.join(BUILD, "empty.lua"), os.path.join(BUILD, "line.txt")
    open(empty, "w", encoding="ascii").close()
    with open(line, "w", encoding="ascii") as file:
        file.write("one line\n")
    table.row("lua5.4, empty script", f"lua5.4 {empty}", 0)
    table.row("perilune run, empty script", f"{PERILUNE} run {empty}", 0)
    table.row("perilune mr, one line", perilune_mr(f"{HERE}/bulk.lua", line, "--workers 1"), 0)


def ratios(table):
    print("\nRatios (how many times faster ours is)")
    one, two = "perilune {}, 1 workers", "perilune {}, 2 workers"
    for what, ours, peer, goal in (
            ("gmatch in map : naive Lua script", one.format("gmatch"), "Lua script", 1.0),
            ("rec:words() : mawk", one.format("words"), "mawk", 1.8),
            ("bulk words : C hash table", one.format("bulk"), "C hash table", 0.6),
            ("grep : grep -c", one.format("grep"), "grep -c", 0.5),
            ("sort : GNU sort, one thread, equal memory", one.format("sort"), "GNU sort, 1 threads", 1.0),
            ("two workers : one, gmatch", two.format("gmatch"), one.format("gmatch"), 1.8),
            ("two workers : one, rec:words()", two.format("words"), one.format("words"), 1.8),
            ("two workers, rec:words() : DuckDB, 2 threads", two.format("words"), "DuckDB, 2 threads", 2.0),
            ("two workers, sort : GNU sort, 2 threads, equal memory", two.format("sort"), "GNU sort, 2 threads",
             1.5)):
        table.ratio(what, ours, peer, goal)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 MB, one run")
    parser.add_argument("--full", action="store_true", help="1 GB")
    parser.add_argument("--runs", type=int, help="runs a program (5; 1 with --quick; 3 with --full)")
    parser.add_argument("--only", help="only the programs whose names contain this")
    options = parser.parse_args()
    options.runs = options.runs or (1 if options.quick else 3 if options.full else 5)
    os.makedirs(BUILD, exist_ok=True)
    if not os.access(PERILUNE, os.X_OK):
        sys.exit(f"{PERILUNE} is missing: run scripts/quickstart first")
    for name in ("measure", "wordcount"):
        subprocess.run(["gcc", "-O2", "-o", os.path.join(BUILD, name), os.path.join(HERE, name + ".c")], check=True)
    version = subprocess.run([PERILUNE, "version", "--json"], capture_output=True, check=True)
    print(f"perilune {json.loads(version.stdout)['git']}, {os.cpu_count()} processors, median of {options.runs}")

    table = Table(options)
    size = 10 * MEGABYTE if options.quick else 100 * MEGABYTE
    word_count(table, make_books(size))
    if options.full:
        word_count(table, make_zipf(1000 * MEGABYTE))
    grep(table, make_books(size))
    sort(table, 100_000 if options.quick else 10_000_000 if options.full else 1_000_000)
    start_up(table)
    ratios(table)


main()
