defmodule LsmIndex.Test.Electric.ShadowedIndex do
  @moduledoc "The index in ETS with an LsmIndex in its shadow, as a host makes it."

  use LsmIndex.Electric.Shadow, index: LsmIndex.Test.Electric.EtsEqualityIndex, log_every: 60_000
end

defmodule LsmIndex.Test.Electric.ForgetfulIndex do
  @moduledoc "An index that finds too little, too much, or fails, as the process dictionary says."

  alias LsmIndex.Test.Electric.EtsEqualityIndex

  defdelegate add_shape(filter, condition_id, shape_id, optimisation, branch_key),
    to: EtsEqualityIndex

  defdelegate remove_shape(filter, condition_id, shape_id, optimisation, branch_key),
    to: EtsEqualityIndex

  def affected_shapes(filter, condition_id, field, record) do
    fault = Process.get(:fault, & &1)
    fault.(EtsEqualityIndex.affected_shapes(filter, condition_id, field, record))
  end

  defdelegate all_shape_ids(filter, condition_id, field), to: EtsEqualityIndex
end

defmodule LsmIndex.Test.Electric.ShadowedForgetfulIndex do
  @moduledoc "That index with a shadow."

  use LsmIndex.Electric.Shadow,
    index: LsmIndex.Test.Electric.ForgetfulIndex,
    parser: {__MODULE__, :parse},
    log_every: 60_000

  def parse(_text, :failing), do: raise("cannot be parsed")
  def parse(_text, :leaving), do: throw(:a_ball)
end

defmodule LsmIndex.Test.Electric.ShadowedTalkativeIndex do
  @moduledoc "The same, with more to say."

  use LsmIndex.Electric.Shadow, index: LsmIndex.Test.Electric.ForgetfulIndex, log_every: 200
end
