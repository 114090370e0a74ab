"""The Enhanced Audited Model: audited models, MINT heads, and inference."""
