"""The engine under `SealedLog`: acceptance, commits, segments and their closing."""
