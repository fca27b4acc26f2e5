"""The services as the packages under services/ tell them: names, modules and settings classes."""

import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import services
from common.bootstrap import USUAL_PORTS
from common.settings import Settings

ROOT = Path(__file__).parents[1]


def packages() -> list[str]:
    """Name the packages of services, those with a port first, in the order of their ports."""
    names = [module.name for module in pkgutil.iter_modules(services.__path__) if module.ispkg]
    return sorted(names, key=lambda name: (USUAL_PORTS.get(service_name(name), sys.maxsize), name))


def service_name(package: str) -> str:
    """Derive a service's name from its package's."""
    name = f"{package.replace('_', '-')}-service"
    return name if name in USUAL_PORTS else package.replace("_", "-")


def module_of(package: str, module: str) -> ModuleType | None:
    """Import a module of a service; None when the service has none of that name."""
    path = ROOT / "services" / package / f"{module}.py"
    return importlib.import_module(f"services.{package}.{module}") if path.exists() else None


def settings_type_of(package: str) -> type[Settings] | None:
    """Find a service's settings class."""
    module = module_of(package, "settings")
    found = (
        [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Settings) and kind.__module__ == module.__name__]
        if module
        else []
    )
    return found[-1] if found else None
