"""One module per family of operators. Importing this package imports them all, which fills the registry."""

from importlib import import_module
from pkgutil import iter_modules

for family in iter_modules(__path__):
    import_module(f"{__name__}.{family.name}")
