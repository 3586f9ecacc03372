"""The stages that come with streamcal: thin wraps of `streamcal.measure` and `streamcal.calibs`, each a plugin."""
