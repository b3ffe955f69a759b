"""Sizes prefill and decode pools of disaggregated LLM inference."""
