"""A UDP relay that delays and so reorders: _relay.py LISTEN TARGET LEAST_MS MOST_MS SEED, each an IPv4 ADDR:PORT.

Each source gets a socket of its own towards the target. Prints "source ADDR:PORT" for each. At most 64 sources, 10,000 datagrams on their way. Ends with its parent.
"""
import heapq
import os
import random
import select
import socket
import sys
import time


def addr(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    listen, target = addr(sys.argv[1]), addr(sys.argv[2])
    least, most, rng = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 1000, random.Random(int(sys.argv[5]))
    front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    front.bind(listen)
    front.setblocking(False)
    back, source_of, queue, order = {}, {}, [], 0
    parent = os.getppid()
    print("relaying", flush=True)
    while os.getppid() == parent:
        wait = max(0, queue[0][0] - time.monotonic()) if queue else 0.2
        ready, _, _ = select.select([front, *back.values()], [], [], min(wait, 0.2))
        for s in ready:
            while True:
                try:
                    data, source = s.recvfrom(65536)
                except BlockingIOError:
                    break
                if s is front and source not in back:
                    if len(back) == 64:
                        continue
                    back[source] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    back[source].bind((listen[0], 0))
                    back[source].setblocking(False)
                    source_of[back[source]] = source
                    print("source %s:%d" % source, flush=True)
                out, to = (back[source], target) if s is front else (front, source_of[s])
                order += 1
                if len(queue) < 10000:
                    heapq.heappush(queue, (time.monotonic() + rng.uniform(least, most), order, out, to, data))
        while queue and queue[0][0] <= time.monotonic():
            _, _, out, to, data = heapq.heappop(queue)
            try:
                out.sendto(data, to)
            except OSError:
                pass


main()
