"""A provider and a caller on libmacula, as processes of their own: they print what happens to each call, with the time.

_caller.py BUILD_FOLDER serve ADDR PROC              prints `serving`, and `run ID TIME` as a handler begins
_caller.py BUILD_FOLDER call ADDR PROC N MS [once]   keeps N calls outstanding, each with a timeout of MS; prints `end ID CODE RAN TIME`
"""
import ctypes as c
import os
import sys
import threading
import time

text = lambda s: s.decode("utf-8", "replace") if s else ""


class Options(c.Structure):
    _fields_ = [("size", c.c_size_t), ("server", c.c_char_p), ("realm", c.c_char_p), ("name", c.c_char_p), ("identity", c.c_void_p),
                ("known_nodes", c.c_char_p), ("ca_file", c.c_char_p), ("token", c.c_char_p), ("insecure", c.c_bool)]


class CallOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("timeout_ms", c.c_uint64), ("strategy", c.c_char_p), ("idempotent", c.c_bool), ("once", c.c_bool)]


class Client(c.Structure):
    _fields_ = [("loop", c.c_void_p), ("id", c.c_uint64)]


class Id(c.Structure):
    _fields_ = [("id", c.c_uint64)]


class Result(c.Structure):
    _fields_ = [("err", c.c_int), ("code", c.c_char_p), ("text", c.c_char_p), ("data", c.c_void_p), ("len", c.c_size_t),
                ("may_have_run", c.c_bool), ("attempts", c.c_char_p)]


class Request(c.Structure):
    _fields_ = [("id", Id), ("procedure", c.c_char_p), ("args", c.c_void_p), ("len", c.c_size_t)]


on_result = c.CFUNCTYPE(None, c.c_void_p, Client, c.POINTER(Result))
on_request = c.CFUNCTYPE(None, c.c_void_p, Client, c.POINTER(Request))


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def checked(lib, err):
    assert err == 0, "%s: %s" % (text(lib.macula_err_name(err)), text(lib.macula_last_error()))


def connected(lib, address):
    loop, client, identity = c.c_void_p(), Client(), c.c_void_p()
    checked(lib, lib.macula_identity_generate(c.byref(identity)))
    checked(lib, lib.macula_loop_new(None, c.byref(loop)))
    o = Options(size=c.sizeof(Options), server=address.encode(), identity=identity, known_nodes=b"", insecure=True)
    checked(lib, lib.macula_connect(loop, c.byref(o), c.byref(client)))
    checked(lib, lib.macula_connect_wait(client, c.c_uint64(300000)))
    return client


def serve(lib, address, procedure):
    client = connected(lib, address)

    @on_request
    def request(_, whose, r):
        args = c.string_at(r.contents.args, r.contents.len)
        say("run", args.decode(), time.monotonic())
        lib.macula_reply(whose, r.contents.id, args, c.c_size_t(len(args)))

    checked(lib, lib.macula_serve_sync(client, procedure.encode(), None, request, None, None, c.c_uint64(300000), None))
    say("serving")
    threading.Event().wait()


def call(lib, address, procedure, outstanding, ms, once=""):
    client = connected(lib, address)
    room, count, prefix = threading.Semaphore(int(outstanding)), 0, os.getpid()
    known = {}
    o = CallOptions(size=c.sizeof(CallOptions), timeout_ms=int(ms), once=bool(once))

    @on_result
    def result(ctx, _, r):
        say("end", known.pop(ctx), text(r.contents.code), int(r.contents.may_have_run), time.monotonic())
        room.release()

    while True:
        room.acquire()
        count += 1
        known[count] = "%d%07d" % (prefix, count)
        args = known[count].encode()
        err = lib.macula_call(client, procedure.encode(), args, c.c_size_t(len(args)), c.byref(o), result, c.c_void_p(count), None)
        checked(lib, err)


if __name__ == "__main__":
    macula = c.CDLL(os.path.join(sys.argv[1], "src", "libmacula.so.0"))
    macula.macula_err_name.restype = macula.macula_last_error.restype = c.c_char_p
    {"serve": serve, "call": call}[sys.argv[2]](macula, *sys.argv[3:])
