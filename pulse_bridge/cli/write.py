import click


@click.command()
def write() -> None:
    pass
