"""macula demo: what it shows, and that nothing of it stays: demo.py BUILD_FOLDER [CASE...]."""
import json
import os
import signal

from _cases import main
from _node import Node, until
from _process import access_file, token_file

PROCEDURES = ["math.add", "math.add.describe", "report.make", "report.make.describe", "weather.now", "weather.now.describe"]


def status(n):
    return json.loads(n.ok("status", "--json"))


def counts(n):
    s = status(n)
    return {k: s[k]["count"] for k in ("services", "subscriptions", "retained", "pending_calls")}


def names(n):
    return {c["name"] for c in json.loads(n.ok("clients", "--json"))["clients"]}


def leaves_nothing(n):
    until("nothing is left", lambda: counts(n) == {"services": 0, "subscriptions": 0, "retained": 0, "pending_calls": 0})
    until("all are gone", lambda: names(n) == {"macula"})


def shows_and_leaves_nothing(folder):
    with Node(folder, http="off") as n:
        d = n.macula("demo")
        d.expect("out", "^50 devices, 3 services")
        devices = {"plant.press3", "plant.oven1", "plant.robot6", "home.kitchen", "fleet.car8", "solar.inverter2", "weather.station6"}
        until("all are there", lambda: names(n) > devices and len(names(n)) >= 60)
        services = json.loads(n.ok("services", "--json"))["services"]
        assert sorted(s["procedure"] for s in services) == PROCEDURES, services
        assert n.ok("call", "math.add", '{"a":2,"b":3}') == "5\n" and n.ok("call", "math.add", '{"a":2,"b":0.5}') == "2.5\n"
        assert json.loads(n.ok("call", "weather.now", '{"city":"Bern"}')).keys() == {"city", "temp", "sky"}
        assert n.run("call", "math.add", '{"a":2}')[0] == 1
        described = {r["procedure"]: r["description"] for r in json.loads(n.ok("--json", "services", "--describe"))}
        assert described["math.add"]["properties"].keys() == {"a", "b"}, described
        topics = {json.loads(line)["topic"] for line in n.ok("sub", "plant.**", "--json", "--count", "40").splitlines()}
        assert "plant.press3.temp" in topics or len(topics) > 5, topics
        until("it retains", lambda: counts(n)["retained"] > 20)
        until("calls are answered", lambda: status(n)["messages"]["delivered"] > 100)
        assert d.end(signal.SIGINT) == 0 and "messages published" in d.out and d.err.count("\n") <= 1, (d.out, d.err)
        leaves_nothing(n)


def below_a_name(folder):
    """Topics and procedures, beside other ones."""
    with Node(folder, http="off") as n:
        d = n.macula("demo", "--under", "hall.2", "--json")
        got = n.sub("hall.2.plant.press3.temp", "--count", "1", "--json").lines(1)[0]
        assert json.loads(got)["topic"] == "hall.2.plant.press3.temp"
        until("it serves", lambda: n.run("call", "hall.2.math.add", '{"a":2,"b":3}')[1] == "5\n")
        until("users call", lambda: status(n)["messages"]["delivered"] > 0)
        assert n.run("call", "math.add", "{}")[0] == 1
        assert d.end(signal.SIGTERM) == 0, d.err
        sums = json.loads(d.out)
        assert sums.keys() == {"published", "received", "calls", "answered", "failed"} and sums["published"] > 0, sums
        leaves_nothing(n)
        code, _, err = n.run("demo", "--under", "a..b")
        assert code == 2 and "invalid_topic" in err, err


def ends_by_itself(folder):
    with Node(folder, http="off") as n:
        code, out, err = n.run("demo", "--duration", "1s")
        assert code == 0 and "messages published" in out, err
        leaves_nothing(n)


def with_an_access_file(folder):
    """All by the token that it was given; without one it is refused at once."""
    token, access = token_file(os.path.join(folder, "token")), os.path.join(folder, "access.yaml")
    with Node(folder, "--access", access_file(access, operator=token), http="off") as n:
        n.env["MACULA_TOKEN_FILE"] = token
        d = n.macula("demo")
        n.sub("plant.press3.temp", "--count", "1").lines(1)
        until("all are there", lambda: len(names(n)) >= 60)
        assert d.end(signal.SIGINT) == 0, d.err
        leaves_nothing(n)
        code, _, err = n.run("demo", env={"MACULA_TOKEN_FILE": ""})
        assert code == 3 and "not_authorized" in err, (code, err)


if __name__ == "__main__":
    main("demo", shows_and_leaves_nothing, below_a_name, ends_by_itself, with_an_access_file)
