"""Secrets that a table of the configuration does not hold itself: a variable or a file does."""

from attrs import AttrsInstance

from .sources import ConfigSources, KeyPath, keys_of


def read_secret(
    sources: ConfigSources, path: KeyPath, cls: type[AttrsInstance], key: str, usual: str = ""
) -> tuple[dict[str, str], str]:
    """Return a secret that its table does not hold, and the variable that is to hold it, if any.

    It is in the variable or the file that the table names, or else in the usual variable.
    """
    table = sources.in_file(path)
    given = [each for each in (key, *keys_of(cls)) if each in table]
    if len(given) > 1:
        raise sources.error((*path, given[1]), f"given besides {given[0]}; keep one of them")
    if key in table:
        return {}, ""
    named = sources.make(cls, path, {each: table[each] for each in given})
    if file := getattr(named, f"{key}_file"):
        return sources.in_text_file((*path, key), (*path, f"{key}_file"), file), ""
    variable = getattr(named, f"{key}_env") or usual
    found = sources.in_environment((*path, key), variable)
    if variable != usual and not found:
        sources.warnings.append(f"{'.'.join(path)}.{key}_env: the variable {variable} is not set")
    return found, variable
