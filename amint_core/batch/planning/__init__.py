"""What a grid of runs would cost: its work, its operations, a calibration, an estimate."""
