"""Qdrant's REST JSON to the engine's values and back."""
from uuid import UUID

import qdrant_edge as q


class Refused(Exception):
    """What the server answers instead of a result."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def bad(message):
    return Refused(400, message)


def point_id(value):
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise bad(
            f"Format error in JSON body: value {value} is not a valid point ID, "
            "valid values are either an unsigned integer or a UUID"
        ) from None


def point_ids(values):
    if not isinstance(values, list):
        raise bad("Format error in JSON body: expected a list of point IDs")
    return [point_id(value) for value in values]


def id_json(value):
    return value if isinstance(value, int) else str(value)


def listed(value):
    return None if value is None else value if isinstance(value, list) else [value]


MATCH = {
    "value": q.MatchValue,
    "any": q.MatchAny,
    "except": q.MatchExcept,
    "text": q.MatchText,
    "text_any": q.MatchTextAny,
    "phrase": q.MatchPhrase,
}


def condition(json):
    if not isinstance(json, dict):
        raise bad("Format error in JSON body: a condition is an object")
    if "has_id" in json:
        return q.HasIdCondition(set(point_ids(json["has_id"])))
    if "is_empty" in json:
        return q.IsEmptyCondition(json["is_empty"]["key"])
    if "is_null" in json:
        return q.IsNullCondition(json["is_null"]["key"])
    if "key" not in json:
        return filter_of(json)
    match, bounds = json.get("match"), json.get("range")
    if match is not None:
        [(kind, value)] = match.items()
        if kind not in MATCH:
            raise bad(f"Format error in JSON body: unknown match {kind}")
        return q.FieldCondition(json["key"], match=MATCH[kind](value))
    if bounds is None:
        raise bad("Format error in JSON body: at least one field condition must be specified")
    if any(isinstance(bound, str) for bound in bounds.values()):
        return q.FieldCondition(json["key"], range=q.RangeDateTime(**bounds))
    # The server reads the bounds as 64 bit floats too: whole numbers are exact up to 2^53.
    floats = {name: float(bound) for name, bound in bounds.items() if bound is not None}
    return q.FieldCondition(json["key"], range=q.RangeFloat(**floats))


def filter_of(json):
    if json is None:
        return None
    unknown = set(json) - {"must", "should", "must_not"}
    if unknown:
        raise bad(f"Format error in JSON body: unknown filter clause {sorted(unknown)}")
    clauses = {
        clause: [condition(one) for one in listed(json[clause])] for clause in json if json[clause] is not None
    }
    return q.Filter(**clauses)


def vector(json):
    if isinstance(json, list) and json and all(isinstance(one, (int, float)) for one in json):
        return [float(one) for one in json]
    if isinstance(json, dict):
        return {name: vector(one) for name, one in json.items()}
    raise bad("Format error in JSON body: data did not match any variant of untagged enum VectorStruct")


def point(json):
    if not isinstance(json, dict) or "id" not in json or "vector" not in json:
        raise bad("Format error in JSON body: a point has an id and a vector")
    return q.Point(point_id(json["id"]), vector(json["vector"]), json.get("payload"))


MODES = {
    "upsert": q.UpdateMode.Upsert,
    "insert_only": q.UpdateMode.InsertOnly,
    "update_only": q.UpdateMode.UpdateOnly,
}


def upsert(json):
    if "batch" in json:
        batch = json["batch"]
        payloads = batch.get("payloads") or [None] * len(batch["ids"])
        points = [
            point({"id": one, "vector": values, "payload": payload})
            for one, values, payload in zip(batch["ids"], batch["vectors"], payloads, strict=True)
        ]
    else:
        points = [point(one) for one in json["points"]]
    if not points:
        raise bad("Bad request: Empty update request")
    mode = json.get("update_mode")
    return q.UpdateOperation.upsert_points(
        points, filter_of(json.get("update_filter")), None if mode is None else MODES[mode]
    )


def selecting(by_ids, by_filter, json, *more):
    """An operation on the points of a list or of a filter."""
    if json.get("points") is not None:
        return by_ids(point_ids(json["points"]), *more)
    if json.get("filter") is not None:
        return by_filter(filter_of(json["filter"]), *more)
    raise bad("Bad request: No filter or points specified")


U = q.UpdateOperation
UPDATES = {
    "upsert": upsert,
    "delete": lambda json: selecting(U.delete_points, U.delete_points_by_filter, json),
    "set_payload": lambda json: selecting(
        U.set_payload, U.set_payload_by_filter, json, json["payload"], json.get("key")
    ),
    "overwrite_payload": lambda json: selecting(
        U.overwrite_payload, U.overwrite_payload_by_filter, json, json["payload"], json.get("key")
    ),
    "delete_payload": lambda json: selecting(U.delete_payload, U.delete_payload_by_filter, json, json["keys"]),
    "clear_payload": lambda json: selecting(U.clear_payload, U.clear_payload_by_filter, json),
}


def with_payload(json, default):
    if json is None:
        return default
    if isinstance(json, dict):
        [(kind, keys)] = json.items()
        return {"include": q.PayloadSelector.Include, "exclude": q.PayloadSelector.Exclude}[kind](keys)
    return json


def record_json(record):
    out = {"id": id_json(record.id)}
    if record.payload is not None:
        out["payload"] = record.payload
    if record.vector is not None:
        out["vector"] = record.vector
    return out


def scored_json(scored):
    return {**record_json(scored), "version": scored.version, "score": scored.score}
