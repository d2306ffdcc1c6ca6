import click


@click.command()
def plugins() -> None:
    pass
