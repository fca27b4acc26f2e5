"""python -m services.garch_volatility: run the volatility service."""

if __name__ == "__main__":
    # Here and not above, since the worker process imports this file too and needs none of it.
    from common.bootstrap import run
    from services.garch_volatility.edge import NAME, build
    from services.garch_volatility.metrics import CATALOGUE
    from services.garch_volatility.settings import GarchSettings

    run(NAME, GarchSettings, build, metrics=CATALOGUE)
