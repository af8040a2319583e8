"""Word count with collections.Counter, in one process or several. Usage: wordcount.py FILE PROCESSES"""
import collections
import multiprocessing
import os
import re
import sys

WORD = re.compile(rb"[A-Za-z]+")


def edges_of(path, parts):
    """Cuts the file into parts at ends of lines."""
    size = os.path.getsize(path)
    edges = [0]
    with open(path, "rb") as file:
        for part in range(1, parts):
            file.seek(size * part // parts)
            file.readline()
            edges.append(file.tell())
    return edges + [size]


def count(path, start, end):
    """Counts the words of the lines in [start, end)."""
    words = collections.Counter()
    with open(path, "rb") as file:
        file.seek(start)
        while start < end:
            block = file.read(min(1 << 20, end - start))
            if start + len(block) < end:
                block += file.readline()
            words.update(WORD.findall(block))
            start += len(block)
    return words


def main():
    path, processes = sys.argv[1], int(sys.argv[2])
    edges = edges_of(path, processes)
    parts = [(path, start, end) for start, end in zip(edges, edges[1:])]
    if processes == 1:
        words = count(*parts[0])
    else:
        with multiprocessing.Pool(processes) as pool:
            words = sum(pool.starmap(count, parts), collections.Counter())
    sys.stdout.buffer.writelines(b"%s %d\n" % pair for pair in words.items())


if __name__ == "__main__":
    main()
