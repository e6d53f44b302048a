# PropEr comes with the system (Debian: erlang-proper), not from a package manager of ours, and
# Mix may have taken it off the code path.
if not Code.ensure_loaded?(:proper) do
  [:code.lib_dir(), ~c"/usr/lib/erlang/lib", ~c"/usr/local/lib/erlang/lib"]
  |> Enum.flat_map(&Path.wildcard(Path.join(to_string(&1), "proper-*/ebin")))
  |> Enum.each(&Code.append_path/1)

  if not Code.ensure_loaded?(:proper) do
    raise "the tests need PropEr: install erlang-proper, or set ERL_LIBS to where it is"
  end
end

# A machine that others use keeps a process waiting for longer than the tenth of a second that is usual.
ExUnit.start(assert_receive_timeout: 30_000)
