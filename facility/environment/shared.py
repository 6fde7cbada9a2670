"""Nothing to send: workers run the notebook's own interpreter, and see its files."""

from typing import Any

from facility.table import Table, Text


class Shared:
    """What stands in place of `facility.environment.sending.Sending` on one machine.

    It is light: `cluster(2)` loads it, and nothing of what packs and sends.
    """

    async def send(self, scheduler: Any) -> None:
        """Do nothing."""

    def remarks(self) -> list[str]:
        """Say what holds workers up: nothing."""
        return []

    def table(self) -> Table:
        """Say that nothing was sent, and why."""
        columns = ("what", "version", "size", "how")
        why = "nothing was sent: workers run this process's Python, and see its files"
        return Table(columns, (), empty=why)

    async def send_folder(self, scheduler: Any) -> Text:
        """Have workers and the scheduler import the modules of the user's folder anew.

        Raises
        ------
        ClusterFailedError
            A worker could not.
        """
        import asyncio

        from facility.environment import folder as folders
        from facility.environment.installed import top_names
        from facility.environment.on_worker import ForgetPlugin, register

        own = await asyncio.to_thread(folders.users_folder)
        found = await asyncio.to_thread(folders.look, own)
        tops = sorted(top_names(found.files))
        await scheduler.facility_forget(tops=tops)
        await register(scheduler, ForgetPlugin(tops))
        return Text(f"workers import anew: {', '.join(tops) or 'no module'} of {own}")
