"""``keyborn serve``: the authority, registry and broker of this machine."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyborn.cli.console import data_option
from keyborn.wiring.log_lines import FORMATS, log_to_stderr

if TYPE_CHECKING:
    from keyborn.adapters.data_folder import DataFolder
    from keyborn.settings import ServerSettings
    from keyborn.wiring.service import Running, ServeOptions


_PATIENCE = 5.0
"""Seconds to outlast a command that holds the data folder for a moment."""


@click.command()
@data_option
@click.option("--https", metavar="HOST:PORT", help="Where devices enroll.  [default: 127.0.0.1:8443]")
@click.option("--mqtt", metavar="HOST:PORT", help="Where devices connect.  [default: 127.0.0.1:8883]")
@click.option(
    "--mqtt-alpn", metavar="HOST:PORT", help="A second broker port, for ALPN x-amzn-mqtt-ca (443 on AWS)."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host name or address of this service; repeatable.",
)
@click.option(
    "--remote-admin/--no-remote-admin",
    default=None,
    help="Whether operators elsewhere are answered, who have an API key.  [default: yes]",
)
@click.option(
    "--plain-http",
    metavar="HOST:PORT|unix:/PATH",
    help="HTTP without TLS, for a proxy in front of the service.",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy, or network of proxies, that is believed who calls; repeatable.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 64),
    help="Processes that answer HTTPS; 0: everything in one.  [default: one less than there are processors]",
)
@click.option("--open-enrollment", is_flag=True, help="Ask no credential: loopback, an hour, 100 things.")
@click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="First line: the passphrase of the authority's keys (or $KEYBORN_CA_PASSPHRASE).",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Where a scraper on this machine reads figures, over plain HTTP; empty: nowhere.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Lines for people, or JSON for programs.",
)
@click.option("--access-log", is_flag=True, help="Log every request, too, by its route.")
@click.option("--verbose", is_flag=True, help="Log every session, not just what was refused.")
def serve(
    *,
    data: Path,
    https: str | None,
    mqtt: str | None,
    mqtt_alpn: str | None,
    names: tuple[str, ...],
    remote_admin: bool | None,
    plain_http: str | None,
    proxies: tuple[str, ...],
    workers: int | None,
    open_enrollment: bool,
    passphrase_file: Path | None,
    metrics: str | None,
    log_format: str,
    access_log: bool,
    verbose: bool,
) -> None:
    """Run registration authority, certificate authority, registry and MQTT broker, until interrupted.

    Creates whatever is missing in the data folder. The options of the first start are kept in server.toml;
    later ones hold for that run.

    Example: keyborn serve --https 0.0.0.0:8443 --mqtt 0.0.0.0:8883 --name gateway.example
    """
    from keyborn.adapters.ca import read_passphrase
    from keyborn.adapters.data_folder import DataFolder
    from keyborn.adapters.process import keep_memory_private
    from keyborn.settings import maybe_loopback
    from keyborn.wiring.service import ServeOptions

    _take_descriptors()
    log_to_stderr(log_format, logging.INFO if verbose else logging.WARNING, access=access_log)
    folder = DataFolder(data)
    folder.create()
    with folder.lock(_PATIENCE):
        settings = _settings(folder, https, mqtt, mqtt_alpn, names)
        if remote_admin is not None:
            settings = replace(settings, remote_admin=remote_admin)
        settings = _in_front(settings, plain_http, proxies)
        if metrics is not None:
            settings = replace(settings, metrics=maybe_loopback(metrics, "--metrics"))
        if workers is not None:
            settings = replace(settings, workers=workers)
        passphrase = read_passphrase(os.environ, passphrase_file)
        keep_memory_private(hidden=passphrase is not None)
        options = ServeOptions(
            open_enrollment,
            passphrase,
            workers=_workers(settings),
            access_log=access_log,
            log_format=log_format,
        )
        asyncio.run(_serve(folder, settings, options))


def _settings(
    folder: "DataFolder",
    https: str | None,
    mqtt: str | None,
    mqtt_alpn: str | None,
    names: tuple[str, ...],
) -> "ServerSettings":
    from keyborn.settings import Address, ServerSettings, read_settings

    settings = read_settings(folder.settings) if folder.settings.exists() else ServerSettings()
    if https is not None:
        settings = replace(settings, https=Address.parse(https, "--https"))
    if mqtt is not None:
        settings = replace(settings, mqtt=Address.parse(mqtt, "--mqtt"))
    if mqtt_alpn is not None:
        settings = replace(settings, mqtt_alpn=Address.parse(mqtt_alpn, "--mqtt-alpn"))
    if not names and (settings.https.is_wildcard or settings.mqtt.is_wildcard):
        names = (
            socket.gethostname(),
        )  # devices elsewhere must be told a name, and find it in the certificate
    if names:
        settings = replace(settings, names=tuple(dict.fromkeys((*names, *settings.names))))
    return settings


def _in_front(
    settings: "ServerSettings", plain_http: str | None, proxies: tuple[str, ...]
) -> "ServerSettings":
    from keyborn.settings import parse_place, parse_proxy

    if plain_http is not None:
        settings = replace(settings, plain_http=parse_place(plain_http, "--plain-http"))
    if proxies:
        named = tuple(parse_proxy(each, "--trusted-proxy") for each in proxies)
        settings = replace(settings, trusted_proxies=named)
    return settings


def _workers(settings: "ServerSettings") -> int:
    """One less than there are processors to use, if nothing else is said: the core takes one (ADR 28)."""
    from keyborn.settings import MAX_WORKERS

    if settings.workers is not None:
        return settings.workers
    return min(MAX_WORKERS, max(1, len(os.sched_getaffinity(0)) - 1))


async def _serve(folder: "DataFolder", settings: "ServerSettings", options: "ServeOptions") -> None:
    from keyborn.http.descriptors import OutOfDescriptors
    from keyborn.settings import write_settings
    from keyborn.wiring.service import LocalService

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(OutOfDescriptors())
    async with LocalService(folder, settings, options).run() as running:
        folder.write_once(folder.settings, write_settings(settings))  # kept only once they have worked
        _announce(running, folder)
        await stop.wait()
        click.echo("Stopping: answers under way are finished first.")
    click.echo("Stopped.")


def _announce(running: "Running", folder: "DataFolder") -> None:
    from keyborn.http.bodies import fingerprint_text

    data = "" if str(folder.path) == "keyborn-data" else f" --data {folder.path}"
    click.echo(f"Keyborn serves {running.url}")
    click.echo(f"  broker            mqtts://{running.mqtt}")
    if running.mqtt_alpn is not None:
        click.echo(f"  with ALPN         mqtts://{running.mqtt_alpn}")
    if running.plain_http:
        click.echo(f"  for proxies       {running.plain_http}")
    if running.metrics is not None:
        click.echo(f"  figures           http://{running.metrics}/metrics")
    click.echo(f"  root fingerprint  {fingerprint_text(running.fingerprint())}")
    click.echo(f"  data folder       {folder.path.resolve()}")
    click.echo(f"Next, in another terminal: keyborn token create --thing NAME{data}")


def _take_descriptors() -> None:
    """A connection is a descriptor: take as many as this process may have, not the 1024 of a shell."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
