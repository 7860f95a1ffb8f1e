"""What the compiled loops of synthesizer and vocoder share."""
