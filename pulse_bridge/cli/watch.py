import click


@click.command()
def watch() -> None:
    pass
