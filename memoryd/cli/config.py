"""memoryd config"""

from __future__ import annotations

from memoryd.cli import options, output
from memoryd.errors import MemorydError


def config(json: options.Json = False) -> None:
    """Show every setting: its variable, its value now, and what it means. Secrets and passwords stay hidden."""
    from pydantic import SecretStr

    from memoryd.config import Settings, hide_password, load_settings

    try:
        settings = load_settings()
    except MemorydError as error:
        output.fail(error)
    rows = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = (
            ("set" if value.get_secret_value() else "") if isinstance(value, SecretStr) else hide_password(str(value))
        )
        rows.append([f"MEMORYD_{name.upper()}", shown, field.description or ""])
    if json:
        output.print_json({variable: shown for variable, shown, _ in rows})
    else:
        output.print_table("", ["variable", "value", "meaning"], rows)
