import click


@click.command()
def relay() -> None:
    pass
