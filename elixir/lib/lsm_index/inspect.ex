defimpl Inspect, for: LsmIndex do
  # Says where the index is without asking it: a closed one inspects the same.
  def inspect(%LsmIndex{path: :memory, num_lanes: num_lanes}, _options) do
    "#LsmIndex<:memory, lanes: #{num_lanes}>"
  end

  def inspect(%LsmIndex{path: path, num_lanes: num_lanes}, _options) do
    "#LsmIndex<path: #{Kernel.inspect(path)}, lanes: #{num_lanes}>"
  end
end
