"""Renders the templates beside this file with jinja2, as transformers sets it up, and writes what they should give.

    python3 render.py        (needs jinja2)
"""

import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent
NOW = "2024-07-26T12:30:45"


class Refused(Exception):
    pass


class Generation(jinja2.ext.Extension):
    """`{% generation %}` passes its body through."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("through"), [], [], body).set_lineno(line)

    def through(self, caller):
        return caller()


def refuse(message):
    raise Refused(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def render(source, variables):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromisoformat(NOW).strftime(f)
    try:
        return {"expected": env.from_string(source).render(**variables)}
    except Refused as error:
        return {"error": str(error), "error_kind": "raise_exception"}
    except Exception as error:
        return {"error": str(error), "error_kind": "engine:" + type(error).__name__}


def cases(folder):
    """Fills in what the cases of one template should give."""
    path = folder / "cases.json"
    data = json.loads(path.read_text())
    source = (folder / "template.jinja").read_text()
    for case in data["cases"]:
        for key in ("expected", "error", "error_kind"):
            case.pop(key, None)
        variables = {key: value for key, value in case.items() if key not in ("name", "extra")}
        variables = {"tools": None, "documents": None, **variables, **case.get("extra", {})}
        case.update(render(source, variables))
    path.write_text(json.dumps(data, indent=1) + "\n")


def snippets():
    """One line of Jinja each, all with the same variables."""
    path = HERE / "snippets.json"
    data = json.loads(path.read_text())
    for case in data["cases"]:
        source = case["source"]
        case.clear()
        case.update(source=source, **render(source, data["variables"]))
    path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    for folder in sorted(HERE.iterdir()):
        if folder.is_dir():
            cases(folder)
    snippets()
