"""
``smtprelay run`` and ``smtprelay demo``: run a relay. Only these and ``dkim check`` import a reactor.
"""

import gc

import click

from smtprelay.cli.options import RelayCommand, chosen
from smtprelay.cli.selection import NumberRange


@click.command(cls=RelayCommand)
@click.pass_context
def run(ctx: click.Context) -> int:
    """
    Run the relay in the foreground.

    It is the same code as `twistd -n smtprelay -c FILE`.
    """
    # Nothing of what is imported is garbage, and looking for it takes a tenth of the start.
    gc.disable()
    from smtprelay.service import run as serve  # noqa: PLC0415

    gc.enable()
    settings = chosen(ctx)
    return serve(settings.config, settings.sets)


@click.command(cls=RelayCommand)
@click.option("--smtp-port", default=2525, show_default=True, type=NumberRange(0, 65535))
@click.option("--http-port", default=8025, show_default=True, type=NumberRange(0, 65535))
def demo(*, smtp_port: int, http_port: int) -> int:
    """
    Run a relay with a fake provider, to try it out.

    Needs no configuration and no cloud, and nothing leaves this machine. Port 0 is any free one.
    """
    from smtprelay.demo import run as show  # noqa: PLC0415

    return show(smtp_port=smtp_port, http_port=http_port)
