"""The page in the browser: `page` says what lies where, `answers` what its buttons do."""
