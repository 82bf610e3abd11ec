"""
Qdrant's engine behind the part of its REST interface that the official client uses: a fixture of the tests.

    python server.py PORT DATA

Updates are applied one at a time, as in a shard of the server, and are in the engine's log when they are answered.
"""
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import qdrant_edge as q
import rest
from rest import Refused, bad

# The release whose engine this is.
VERSION = "1.19.0"
DISTANCES = {name: getattr(q.Distance, name) for name in ("Cosine", "Euclid", "Dot", "Manhattan")}
SCHEMAS = {
    name.lower(): getattr(q.PayloadSchemaType, name)
    for name in ("Keyword", "Integer", "Float", "Geo", "Text", "Bool", "Datetime", "Uuid")
}


class Engine:
    def __init__(self, data):
        self.data = data
        self.lock = threading.Lock()
        self.shards = {}
        self.operations = 0
        os.makedirs(data, exist_ok=True)
        for name in os.listdir(data):
            if os.path.exists(self.path(name, "collection.json")):
                self.shards[name] = q.EdgeShard.load(self.path(name, "shard"))
            else:
                # It was killed while it created this one, and had not said so.
                shutil.rmtree(self.path(name))

    def path(self, *parts):
        return os.path.join(self.data, *parts)

    def close(self):
        for shard in self.shards.values():
            shard.close()

    def shard(self, name):
        if name not in self.shards:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return self.shards[name]

    def config(self, name):
        self.shard(name)
        with open(self.path(name, "collection.json"), encoding="utf8") as file:
            return json.load(file)

    def create(self, name, body):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) or name in (".", ".."):
            raise bad("Bad request: collection name")
        if name in self.shards:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        vectors = body.get("vectors")
        if not isinstance(vectors, dict) or vectors.get("distance") not in DISTANCES:
            raise bad("Format error in JSON body: vectors need a size and a distance")
        if not isinstance(vectors.get("size"), int) or not 1 <= vectors["size"] <= 65536:
            raise Refused(422, "Validation error in JSON body: [vectors.size: value must be from 1 to 65536]")
        os.makedirs(self.path(name, "shard"))
        params = q.EdgeVectorParams(vectors["size"], DISTANCES[vectors["distance"]])
        self.shards[name] = q.EdgeShard.create(self.path(name, "shard"), q.EdgeConfig(vectors=params))
        with open(self.path(name, "collection.json"), "w", encoding="utf8") as file:
            json.dump({"vectors": {"size": vectors["size"], "distance": vectors["distance"]}}, file)
        return True

    def drop(self, name):
        if name not in self.shards:
            return False
        os.remove(self.path(name, "collection.json"))
        self.shards.pop(name).close()
        shutil.rmtree(self.path(name))
        return True

    def info(self, name):
        shard = self.shard(name).info()
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": shard.points_count,
            "indexed_vectors_count": shard.indexed_vectors_count,
            "segments_count": shard.segments_count,
            "config": {"params": self.config(name)},
            "payload_schema": {
                field: {"data_type": str(index.data_type).rsplit(".", 1)[-1].lower(), "points": index.points}
                for field, index in shard.payload_schema.items()
            },
        }

    def update(self, name, operation):
        shard = self.shard(name)
        try:
            shard.update(operation)
        except Exception as error:
            # The engine has one exception for all its errors.
            wrong = re.search(r"dimension|vector name|Wrong input|not valid|malformed|Validation", str(error))
            raise Refused(400 if wrong else 500, ("Wrong input: " if wrong else "Service internal error: ") + str(error))
        self.operations += 1
        return {"operation_id": self.operations, "status": "completed"}


def retrieve(engine, name, body):
    found = engine.shard(name).retrieve(
        rest.point_ids(body["ids"]), rest.with_payload(body.get("with_payload"), True), body.get("with_vector", False)
    )
    return [rest.record_json(one) for one in found]


def one_point(engine, name, one):
    found = retrieve(engine, name, {"ids": [int(one) if one.isdigit() else one], "with_vector": True})
    if not found:
        raise Refused(404, f"Not found: Point with id {one} does not exists!")
    return found[0]


def scroll(engine, name, body):
    offset = body.get("offset")
    records, following = engine.shard(name).scroll(
        q.ScrollRequest(
            offset=None if offset is None else rest.point_id(offset),
            limit=body.get("limit") or 10,
            filter=rest.filter_of(body.get("filter")),
            with_payload=rest.with_payload(body.get("with_payload"), True),
            with_vector=body.get("with_vector", False),
        )
    )
    return {
        "points": [rest.record_json(one) for one in records],
        "next_page_offset": None if following is None else rest.id_json(following),
    }


def count(engine, name, body):
    return {"count": engine.shard(name).count(q.CountRequest(True, rest.filter_of(body.get("filter"))))}


def nearest(engine, name, values, body):
    size = engine.config(name)["vectors"]["size"]
    if len(values) != size:
        raise bad(f"Wrong input: Vector dimension error: expected dim: {size}, got {len(values)}")
    found = engine.shard(name).search(
        q.SearchRequest(
            query=q.Query.Nearest(values),
            limit=body.get("limit") or 10,
            offset=body.get("offset") or 0,
            filter=rest.filter_of(body.get("filter")),
            with_payload=rest.with_payload(body.get("with_payload"), False),
            with_vector=body.get("with_vector") or False,
            score_threshold=body.get("score_threshold"),
        )
    )
    return [rest.scored_json(one) for one in found]


def search(engine, name, body):
    return nearest(engine, name, rest.vector(body["vector"]), body)


def query(engine, name, body):
    asked = body.get("query")
    asked = asked.get("nearest") if isinstance(asked, dict) else asked
    if isinstance(asked, (str, int)):
        asked = one_point(engine, name, str(asked))["vector"]
    if asked is None:
        page = scroll(engine, name, {"with_payload": False, **body, "offset": None})
        return {"points": [{**one, "version": 0, "score": 0} for one in page["points"]]}
    return {"points": nearest(engine, name, rest.vector(asked), body)}


def batch(engine, name, body):
    """One after another; the first that fails ends it, and those before it stay."""
    return [
        engine.update(name, rest.UPDATES[kind](operation))
        for one in body["operations"]
        for kind, operation in one.items()
    ]


def create_index(engine, name, body):
    schema = body.get("field_schema")
    kind = schema.get("type") if isinstance(schema, dict) else schema
    if kind not in SCHEMAS:
        raise bad(f"Format error in JSON body: unknown field_schema {schema}")
    return engine.update(name, q.UpdateOperation.create_field_index(body["field_name"], SCHEMAS[kind]))


def updating(kind):
    return lambda engine, name, body: engine.update(name, rest.UPDATES[kind](body))


C = "/collections/([^/]+)"
ROUTES = [
    (method, re.compile(path + "$"), handle)
    for method, path, handle in [
        ("GET", "/collections", lambda e, _: {"collections": [{"name": one} for one in sorted(e.shards)]}),
        ("GET", C, lambda e, name, _: e.info(name)),
        ("PUT", C, lambda e, name, body: e.create(name, body)),
        ("DELETE", C, lambda e, name, _: e.drop(name)),
        ("GET", f"{C}/exists", lambda e, name, _: {"exists": name in e.shards}),
        ("PUT", f"{C}/index", create_index),
        ("DELETE", f"{C}/index/([^/]+)", lambda e, n, f, _: e.update(n, q.UpdateOperation.delete_field_index(f))),
        ("PUT", f"{C}/points", updating("upsert")),
        ("POST", f"{C}/points", retrieve),
        ("GET", f"{C}/points/([^/]+)", lambda e, name, one, _: one_point(e, name, one)),
        ("POST", f"{C}/points/delete", updating("delete")),
        ("POST", f"{C}/points/payload", updating("set_payload")),
        ("PUT", f"{C}/points/payload", updating("overwrite_payload")),
        ("POST", f"{C}/points/payload/delete", updating("delete_payload")),
        ("POST", f"{C}/points/payload/clear", updating("clear_payload")),
        ("POST", f"{C}/points/batch", batch),
        ("POST", f"{C}/points/scroll", scroll),
        ("POST", f"{C}/points/count", count),
        ("POST", f"{C}/points/search", search),
        ("POST", f"{C}/points/query", query),
    ]
]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    engine = None

    def setup(self):
        super().setup()
        # Else a small answer waits for the acknowledgement of the one before.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def result(self):
        # A client that sends head and body apart waits with the body until the head is acknowledged.
        if hasattr(socket, "TCP_QUICKACK"):
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        text = self.rfile.read(int(self.headers.get("content-length") or 0))
        address = urlsplit(self.path)
        for method, pattern, handle in ROUTES:
            match = pattern.match(address.path)
            if method == self.command and match:
                break
        else:
            raise Refused(404, "Not found")
        try:
            body = json.loads(text) if text else {}
            with self.engine.lock:
                done = handle(self.engine, *map(unquote, match.groups()), body)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise bad(f"Format error in JSON body: {error!r}") from error
        if parse_qs(address.query).get("wait") == ["false"] and isinstance(done, dict) and "operation_id" in done:
            return {**done, "status": "acknowledged"}
        return done

    def serve(self):
        since = time.perf_counter()
        if self.path == "/":
            return self.answer(200, {"title": "qdrant - vector search engine", "version": VERSION})
        try:
            status, body = 200, {"result": self.result(), "status": "ok"}
        except Refused as error:
            status, body = error.status, {"status": {"error": str(error)}}
        except Exception as error:
            status, body = 500, {"status": {"error": f"Service internal error: {error!r}"}}
        self.answer(status, {**body, "time": time.perf_counter() - since})

    do_GET = do_PUT = do_POST = do_DELETE = serve


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    port, data = int(sys.argv[1]), sys.argv[2]
    Handler.engine = Engine(data)
    server = Server(("127.0.0.1", port), Handler)

    def end():
        server.shutdown()
        with Handler.engine.lock:
            Handler.engine.close()
            os._exit(0)

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
    server.serve_forever()
    # `end` closes the engine, then leaves.
    threading.Event().wait()


main()
