"""A UDP relay that delays and so reorders, and loses: _relay.py LISTEN TARGET LEAST_MS MOST_MS SEED [LOST_PERCENT].

LISTEN and TARGET are an IPv4 ADDR:PORT each, a LISTEN of port 0 any that is free. Prints "relaying ADDR:PORT" first. Each source gets a socket of its own towards the target. Prints "source ADDR:PORT"
for each. At most 64 sources, 10,000 datagrams on their way. Ends with its parent.
"""
import heapq
import os
import random
import select
import socket
import sys
import time

SO_RCVBUFFORCE = 33


def addr(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def udp(at):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    except OSError:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    s.bind(at)
    s.setblocking(False)
    return s


def main():
    listen, target = addr(sys.argv[1]), addr(sys.argv[2])
    least, most, rng = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 1000, random.Random(int(sys.argv[5]))
    lost = float(sys.argv[6]) / 100 if len(sys.argv) > 6 else 0
    front = udp(listen)
    back, source_of, queue, order = {}, {}, [], 0
    parent = os.getppid()
    print("relaying %s:%d" % front.getsockname(), flush=True)
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
                    back[source] = udp((listen[0], 0))
                    source_of[back[source]] = source
                    print("source %s:%d" % source, flush=True)
                if lost and rng.random() < lost:
                    continue
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
