"""Parts of the tomographic reconstruction: grid and plan, streaming, filtered, iterative and ADMM methods, output."""
