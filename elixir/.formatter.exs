[
  inputs: ["{mix,.formatter}.exs", "{mix,lib,test,bench,demo}/**/*.{ex,exs}"],
  line_length: 98
]
