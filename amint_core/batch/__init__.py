"""Many runs: a grid, its cost, and Snakemake to do them."""
