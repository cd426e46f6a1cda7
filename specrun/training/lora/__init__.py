"""Training LoRA weights with diffusers and peft, in a loop of our own."""
