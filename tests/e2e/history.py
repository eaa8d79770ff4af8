"""What a node keeps of its last hour, by HTTP and to operators: history.py BUILD_FOLDER [CASE...]."""
import json
import signal

from _cases import main
from _node import Node, until


def by_http(folder):
    with Node(folder) as n:
        sub = n.sub("a")
        n.ok("pub", "a", "1")

        def minute():
            j = json.loads(n.get("/api/history_minute"))
            return j if len(j["times"]) > 2 and sum(j["series"]["published"]) > 0 else None

        j = until("samples", minute)
        rows = {"memory." + r["name"] for r in json.loads(n.get("/api/memory"))["rows"]} - {"memory.unaccounted"}
        assert j["step_s"] == 1 and rows < j["series"].keys(), rows - j["series"].keys()
        assert all(len(v) == len(j["times"]) for v in j["series"].values())
        assert sorted(set(j["times"])) == j["times"] and j["series"]["rss_bytes"][-1] > 1 << 20 and 1 in j["series"]["subscriptions"]
        assert json.loads(n.get("/api/history"))["step_s"] == 10
        assert sub.end(signal.SIGTERM) == 0


def by_top(folder):
    """The first picture comes at once."""
    with Node(folder, http="off") as n:
        t = n.macula("top", "--interval", "1h")
        t.expect("out", "^CLIENT ")
        assert t.end(signal.SIGINT) == 0, t.err
        assert json.loads(n.ok("call", "com.macula.node.history_minute"))["step_s"] == 1
        until("ten seconds", lambda: json.loads(n.ok("top", "--once", "--json"))["history"]["times"], pause=1)
        text = n.ok("top", "--once")
        assert [line.split()[0] for line in text.splitlines()[4:7]] == ["in", "out", "memory"] and all(len(line) <= 80 for line in text.splitlines()), text


if __name__ == "__main__":
    main("history", by_http, by_top)
