#!/usr/bin/env python3
"""Tells Homeostat when files of Local::File resources change or vanish: an observer in another language.

    python3 file-observer.py [[nats://USER:PASSWORD@]HOST:PORT [PREFIX]]

Without a server it takes that of NATS_URL, where others do not see its password. It needs nothing but Python and speaks the text protocol of NATS. docs/EVENTS.md says what is asked and told.
"""
import json, os, secrets, socket, sys, time
from urllib.parse import unquote, urlsplit

URL, PREFIX = (sys.argv[1:] + [os.environ.get("NATS_URL", "127.0.0.1:4222"), "homeostat"][len(sys.argv) - 1 :])[:2]
SERVER = urlsplit(URL if "//" in URL else "//" + URL)
HOST, PORT = SERVER.hostname, SERVER.port or 4222
LOGIN = {"user": unquote(SERVER.username), "pass": unquote(SERVER.password or "")} if SERVER.username else {}
TYPE, TOLD = "Local::File", f"{PREFIX}.observed.Local_3a_3aFile"
ASK_S, BEAT_S, LOOK_S, PATIENCE_S = 10, 5, 0.2, 5
PAGE = 200  # So many fit into one message, however long their names are.
seen = {}  # physical id -> what the last look found; None before the first one, so that what changed before is told


def look(path):
    try:
        return os.stat(path).st_mtime_ns, os.stat(path).st_size
    except OSError as error:
        return error.errno


def observe(nats):
    lines, inbox, listed = nats.makefile("rb"), "_INBOX." + secrets.token_hex(8), {}
    send = lambda text: nats.sendall(text.encode() + b"\r\n")
    publish = lambda to, value: send(f"PUB {to} {len(json.dumps(value))}\r\n{json.dumps(value)}")
    ask = lambda: publish(f"{PREFIX}.api.watched {inbox}", {"type": TYPE, "offset": len(listed), "limit": PAGE})
    send("CONNECT " + json.dumps({"verbose": False, "name": "file-observer", **LOGIN}) + f"\r\nSUB {inbox} 1")
    ask_at = beat_at = 0
    while True:
        if time.monotonic() >= ask_at:
            ask_at = time.monotonic() + ASK_S
            listed.clear()
            ask()
        told = {path: found for path, before in seen.items() if (found := look(path)) != before}
        for path in told:
            publish(TOLD, {"type": TYPE, "physical_id": path})
        if time.monotonic() >= beat_at:
            beat_at = time.monotonic() + BEAT_S
            publish(TOLD + ".heartbeat", {"every_s": BEAT_S})
        send("PING")  # Its answer comes after all that is waiting, and shows that the server has what was told.
        while (words := lines.readline().split())[:1] != [b"PONG"]:
            if words[:1] == [b"PING"]:
                send("PONG")
            elif words[:1] == [b"MSG"]:
                reply = json.loads(lines.read(int(words[-1]) + 2).strip() or b"{}")
                page = {each["physical_id"]: None for each in reply.get("watched", [])}
                listed.update(page)
                if page and len(listed) < reply["total"]:
                    ask()
                elif "watched" in reply:
                    known = {path: seen.get(path) for path in listed}
                    seen.clear()
                    seen.update(known)
            elif words[:1] in ([], [b"-ERR"]):
                raise ConnectionError(b" ".join(words).decode() or "NATS has closed the connection")
        seen.update((path, found) for path, found in told.items() if path in seen)
        time.sleep(LOOK_S)


while True:
    try:
        with socket.create_connection((HOST, PORT), PATIENCE_S) as connection:
            observe(connection)
    except OSError as error:
        print(f"{HOST}:{PORT}: {error}; trying again", file=sys.stderr, flush=True)
        time.sleep(1)
