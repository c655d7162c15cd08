"""Pictures in and out: reading, fitting, colours, contact sheets, previews."""
