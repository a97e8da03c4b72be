"""How many of the memory lines that a kernel's loads touch are used, by the shader's own index expressions."""
