"""``python -m harmonium`` is the command ``harmonium``."""

from .cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
