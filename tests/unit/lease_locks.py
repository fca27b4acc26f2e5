"""Locks as between processes, within one."""


class Machine:
    """Which process has which lock."""

    def __init__(self) -> None:
        self.owners: dict[int, object] = {}

    def end(self, owner: object) -> None:
        """End the process that has these locks."""
        raise AssertionError(f"nobody hangs here, not even {owner}")


class MachineLocks:
    """One process's view of them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def take(self, number: int) -> bool:
        return self._machine.owners.setdefault(number, self) is self

    def release(self, number: int) -> None:
        if self._machine.owners.get(number) is self:
            del self._machine.owners[number]

    def end_holder(self, number: int) -> bool:
        self._machine.end(self._machine.owners[number])
        return True

    def close(self) -> None:
        for number in [number for number, owner in self._machine.owners.items() if owner is self]:
            del self._machine.owners[number]
