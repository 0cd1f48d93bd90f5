"""What flows: documents and outcomes, the stages that change them, the store that remembers, the engine that runs."""
