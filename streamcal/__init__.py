"""streamcal: flat-field pairs measured as a stream, a row per amplifier, into Arrow."""
