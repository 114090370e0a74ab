"""What a grid of runs would cost: its work, its arithmetic, a calibration, an estimate."""
