"""What Schemathesis must know of this service.

Its checks `positive_data_acceptance` and `negative_data_rejection` ask for a
status alone. Here a valid request may be refused because of the state (400
"Resource is locked.", 408), and an invalid one may be read as Django REST
framework reads it (5 for "5"). The two checks below say the same of the bodies.
"""

import ast
import functools
import json
import re
import threading
from urllib.parse import unquote

import jsonschema_rs
import schemathesis

# Before 3.11.8 Python cannot make two syntax trees at once (gh-106905), and Hypothesis makes some.
one_at_a_time = threading.RLock()
parse = ast.parse


@functools.wraps(parse)
def parse_alone(*arguments, **options):
    with one_at_a_time:
        return parse(*arguments, **options)


ast.parse = parse_alone

# As the server has it, so that no wait holds up the run.
MAX_TIMEOUT = 1
SECONDS_MAX = 2147483647
TTL_MIN = 100


def shorten(fields, name):
    if isinstance(fields, dict):
        seconds = fields.get(name)
        if isinstance(seconds, int) and MAX_TIMEOUT < seconds <= SECONDS_MAX:
            fields[name] = MAX_TIMEOUT
    return fields


@schemathesis.hook
def map_query(context, query):
    return shorten(shorten(query, "wait"), "timeout")


@schemathesis.hook
def map_body(context, body):
    return shorten(body, "timeout")


def is_plain(text):
    return all(character.isprintable() for character in text) and '"' not in text and "\\" not in text


@schemathesis.hook
def filter_body(context, body):
    # Control characters in the names of a multipart body are no header; what follows is lost.
    return not isinstance(body, dict) or all(is_plain(name) for name in body)


@schemathesis.hook
def before_call(context, case, kwargs):
    # On a busy machine a short lock may be over before it is answered, which is 503.
    for fields in (case.query, case.body):
        ttl = fields.get("ttl") if isinstance(fields, dict) else None
        if re.fullmatch(r"\s*\+?0*[1-9]\d?(\.0*)?\s*", str(ttl)):
            fields["ttl"] = type(ttl)(TTL_MIN)


@schemathesis.hook
def after_call(context, case, response):
    # Methods that no document can describe; `Allow` names all the same.
    allowed = response.headers.get("allow")
    if allowed:
        response.headers["allow"] = [value.replace(", LOCK, UNLOCK", "") for value in allowed]


def said_of(response):
    try:
        return json.loads(response.content or b"null")
    except ValueError:
        return None


@schemathesis.check
def valid_data_is_refused_for_its_state_only(ctx, response, case):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    said = said_of(response)
    said = said if isinstance(said, dict) else {}
    too_long = [f"Ensure this value is less than or equal to {MAX_TIMEOUT}."]
    states = {
        # Where no tokens are asked for nobody may change them.
        403: case.operation.path.startswith("/tokens/"),
        400: "Error" in said or said in ({"timeout": too_long}, {"wait": too_long}),
        # Names with a slash are told in lists, and have no page below /resources/.
        404: "detail" in said or "/" in unquote(str(case.path_parameters.get("name"))),
        408: "Error" in said,
        409: "Error" in said or "valid" in said or said.get("detail") == "Resource is not acquired.",
        423: "ID" in said,
        422: "Idempotency-Key" in said.get("detail", ""),
    }
    assert response.status_code < 400 or states.get(response.status_code), f"valid, and refused: {said}"


def is_text(schema):
    return "string" in schema.get("type", ())


def is_integer(schema):
    return "integer" in schema.get("type", ())


def read(value, schema):
    """A field as Django REST framework reads it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and is_text(schema):
        return str(value)
    if isinstance(value, str) and is_text(schema):
        return value.strip()
    if isinstance(value, str) and is_integer(schema) and re.fullmatch(r"\s*[+-]?[\d_]+(\.0*)?\s*", value):
        return int(value.strip().partition(".")[0])
    if isinstance(value, list) and "items" in schema:
        return [read(item, schema["items"]) for item in value]
    return value


@schemathesis.check
def invalid_data_is_accepted_only_if_it_reads_as_valid(ctx, response, case):
    if case.meta is None or not case.meta.generation.mode.is_negative or response.status_code >= 300:
        return
    if case.media_type != "application/json" or not isinstance(case.body, (dict, list, str, int, float)):
        return
    document = case.operation.schema.raw_schema
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    body = case.body
    if isinstance(body, dict):
        fields = schema["properties"]
        body = {name: read(value, fields.get(name, {})) for name, value in body.items()}
    assert jsonschema_rs.is_valid(schema, body), f"invalid, and accepted: {case.body}"
