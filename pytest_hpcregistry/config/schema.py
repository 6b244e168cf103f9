"""The JSON Schema of the cluster file, made from the fields of core/model.py: what an editor completes and underlines.

It refuses nothing that load.py takes; what no schema can say, such as a name in two node sets, only load.py refuses.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..core.kinds import NODE_SET, Setting
from ..core.model import NODES, SECTIONS, Cluster, Section
from ..core.routes import ROUTE_SETTINGS, NodeRoute

DIALECT = "http://json-schema.org/draft-07/schema#"
NOTHING = ({"type": "null"}, {"const": ""})
"""What stands where a setting without a default is left open."""


def cluster_schema() -> dict[str, Any]:
    """The whole schema, as JSON has it."""
    properties: dict[str, Any] = {}
    for field in (one for one in dataclasses.fields(Cluster) if one.metadata):
        is_section = field.name in SECTIONS
        properties[field.name] = (
            of_section(SECTIONS[field.name]) if is_section else of_setting(field.metadata["setting"], field)
        )
    properties["nodes"]["anyOf"] = [*properties["nodes"]["anyOf"], of_routes()]
    return {
        "$schema": DIALECT,
        "title": "Cluster file of hpc-container-manager",
        "type": "object",
        "properties": properties,
        "required": ["controller"],
        "additionalProperties": False,
    }


def of_section(section: Section) -> dict[str, Any]:
    """A section: all of it may be commented out, but for one without which there is no cluster."""
    fields = dataclasses.fields(section.kind)
    required = [field.name for field in fields if is_required(field)]
    schema = {
        "description": section.help,
        "type": "object" if required else ["object", "null"],
        "properties": {field.name: of_setting(field.metadata["setting"], field) for field in fields},
        "additionalProperties": False,
    }
    # Of a controller's name and host one is enough: it is the default of the other.
    return {**schema, "anyOf": [{"required": [name]} for name in required]} if required else schema


def of_routes() -> dict[str, Any]:
    """`nodes` as a mapping from node sets to how they are reached."""
    fields = [field for field in dataclasses.fields(NodeRoute) if field.name in ROUTE_SETTINGS]
    route = {
        "description": "How these nodes are reached, where the controller's own ssh_config does not say it.",
        "type": ["object", "null", "string"],
        "maxLength": 0,
        "properties": {field.name: of_setting(ROUTE_SETTINGS[field.name], field) for field in fields},
        "additionalProperties": False,
    }
    return {"type": "object", "minProperties": 1, "propertyNames": NODE_SET, "additionalProperties": route}


def of_setting(setting: Setting, field: dataclasses.Field[Any]) -> dict[str, Any]:
    """A setting, its help as the description; its default as it would be written."""
    schema = dict(setting.kind.schema)
    if is_required(field):
        return {"description": setting.help, **schema}
    if field.default is None and setting is not NODES:
        return {"description": setting.help, "anyOf": [schema, *NOTHING]}
    return {"description": setting.help, "default": setting.kind.write(field.default), **schema}


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default at all."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
