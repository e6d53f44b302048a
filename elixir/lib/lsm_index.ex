defmodule LsmIndex do
  @moduledoc """
  A multimap from keys to sets of ids that lives outside the BEAM heap, at 10 to 11 bytes per key.

  A *key* is a binary of 0 to 65 535 bytes, or a small term such as `{:user, 42}`; an *id* is an
  integer from 0 to 2 147 483 647. An index is kept in memory, or in a directory that is mapped and
  opens again at once.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, "user:42", 7)
      :ok
      iex> LsmIndex.write(index, [{:put, "user:42", 3}, {:put, "user:43", 7}])
      :ok
      iex> LsmIndex.get(index, "user:42")
      [3, 7]
      iex> LsmIndex.get_many(index, ["user:43", "user:44"])
      [[7], []]

  ## Keys

  Besides a binary, a key may be an integer of 64 bits with its sign, an atom, or a tuple of one to
  eight integers, atoms and binaries. Such a term is read where it is, so that no binary has to be
  made of it, and means the same after a restart; an atom is its name. Two keys are one if they are
  the same term: `:a`, `"a"`, `{:a}` and `{"a"}` are four. Floats, lists, maps, tuples within tuples
  and all other terms are refused.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, {:user, 42}, 7)
      :ok
      iex> LsmIndex.get_many(index, [{:user, 42}, {"user", 42}, 42])
      [[7], [], []]

  ## Processes

  Any process may use an index, and all at once: every call runs in the process that makes it. A
  look-up sees every write to its key that returned before, and waits for no file.

  ## Options

  `open/2` and `start_link/1` take:

    * `:num_lanes` - the number of independent parts, 1 to 16 384, 64 for a new index. A stored
      index keeps the number it was created with; asking for another is an error.
    * `:compaction_threshold` - how many changes a lane may hold in memory before they are written
      to a segment, 10 000 at most by default. Small lanes write earlier.
    * `:durability` - what a change survives once the call has returned, unless the call says
      otherwise: `:os` (default) the end of the VM, however it comes; `:sync` a power failure too;
      `:memory` nothing before the next flush, sync or close. docs/operations.md has the details.
      Without a path nothing outlives the VM.
    * `:max_log_bytes` - how large the write-ahead log may grow, 64 MiB by default. It bounds the
      time that opening takes after a crash; writers wait for flushes when it is full.
    * `:recover` - `:strict` (default) refuses to open an index whose log is damaged, `:salvage`
      leaves out what cannot be read, reports it, and keeps the damaged files in `quarantine/`.
    * `:verify` - `:full` (default) compares all 64 bits of a key's fingerprint in a look-up,
      `:fast` 48 of them, for less memory touched and a chance of a wrong answer, per look-up and
      segment, of `num_lanes` in 2^48: 1 in 2^42 with 64 lanes.
    * `:residency` - where the bytes that look-ups read are kept. `:mmap` (default): in the page cache,
      so that opening takes no time and a first look-up waits for the device if it has to. `:populate`:
      there too, all of it read by opening. `:mlock`: locked there, for which the VM needs the right
      (`ulimit -l`); opening fails without. `:heap`: in memory of its own, in huge pages where the
      system gives them (`madvise`), which makes look-ups in large indexes faster, a quarter at 10
      million keys, and takes up to a third more memory. `warm/2` reads an open index into memory.
    * `:filter` - what segments written from now on have to tell that a key is not there. `:none`
      (default): the byte they keep of every key's fingerprint. `:fuse8` (a binary fuse filter),
      `:bloom`: that too, for 1.2 bytes a key. With `:fuse8` a key that is not there takes the engine
      half the time among ten million keys, but no less among one million; and batches do not ask
      filters. Lanes stop asking and writing them while most keys that are asked for are there.
    * `:hash_key` - 16 secret bytes that key the hash, random by default and stored with the index.

  Two keys with the same fingerprint become one; with n keys the chance of any such pair is at
  most n² / 2^65, 3 in a million for 10 million keys.

  ## Errors

  Writes return `{:error, %LsmIndex.Error{}}`, reads raise it, for instance when the index is
  closed. A write that fails changes nothing, but for one with `:sync` whose sync fails: that may be
  seen, and is not promised to last.

  ## Owners

  An index opened with a path belongs to the process that opened it, and is closed when that one
  dies. `start_link/1` puts an index under a supervisor; it is then used by its name:

      children = [{LsmIndex, name: MyApp.Routes, path: "/var/lib/my_app/routes"}]
      # later, anywhere
      LsmIndex.get(MyApp.Routes, "user:42")

  An index in memory that was opened by `open/2` has no owner and is freed with the last
  reference to it. So is one with a path whose library processes were all killed (`:kill`) at once:
  until nothing refers to it any more, its directory stays locked.
  """

  alias LsmIndex.{Bounds, Error, Files, Loader, Names, Native, Options, Owner, Upkeep, Writer}

  @enforce_keys [:ref, :path, :num_lanes, :durability, :owner]
  defstruct @enforce_keys

  @typedoc "An opened index. Its fields are the library's own business."
  @type t :: %__MODULE__{
          ref: reference,
          path: String.t() | :memory,
          num_lanes: pos_integer,
          durability: durability,
          owner: pid | nil
        }

  @typedoc "An index, or the name one was started under."
  @type index :: t | atom
  @typedoc """
  A binary, or a term of parts: see "Keys" above. Its encoding (docs/format.md) has 65 535 bytes at the
  most.
  """
  @type key ::
          key_part
          | {key_part}
          | {key_part, key_part}
          | {key_part, key_part, key_part}
          | {key_part, key_part, key_part, key_part}
          | {key_part, key_part, key_part, key_part, key_part}
          | {key_part, key_part, key_part, key_part, key_part, key_part}
          | {key_part, key_part, key_part, key_part, key_part, key_part, key_part}
          | {key_part, key_part, key_part, key_part, key_part, key_part, key_part, key_part}
  @typedoc "An integer has 64 bits, with its sign."
  @type key_part :: binary | integer | atom
  @typedoc "0 to 2 147 483 647"
  @type id :: non_neg_integer
  @type op :: {:put, key, id} | {:delete, key, id}
  @type durability :: :memory | :os | :sync
  @typedoc "Options of one change: `durability:` in place of the index's."
  @type change_options :: [durability: durability]

  @doc """
  Opens the index in the directory `path`, creating it if there is none, or a new one in memory.

  With a path the calling process becomes the owner: the index is closed when it dies. A directory
  can be open only once, in all VMs. See the module documentation for the options.

      iex> {:ok, index} = LsmIndex.open(:memory, num_lanes: 8)
      iex> index
      #LsmIndex<:memory, lanes: 8>
      iex> {:error, error} = LsmIndex.open(:memory, lanes: 8)
      iex> {error.reason, error.detail}
      {:invalid_option, %{option: :lanes, value: 8}}
  """
  @spec open(String.t() | :memory, keyword) :: {:ok, t} | {:error, Error.t()}
  def open(path, options \\ []) do
    with {:ok, options} <- Options.validate(options),
         {:ok, location} <- Options.location(path),
         do: Owner.open(location, options)
  end

  @doc """
  Closes the index: writes out what is in memory, releases files, lock and native memory.

  Any process may close it, again and again. Calls in flight end as usual, later reads raise.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> {LsmIndex.close(index), LsmIndex.close(index)}
      {:ok, :ok}
      iex> LsmIndex.get(index, "user:42")
      ** (LsmIndex.Error) the index is closed
  """
  @spec close(index) :: :ok | {:error, Error.t()}
  def close(index) do
    case Names.fetch(index) do
      {:ok, %LsmIndex{owner: nil, ref: ref}} -> Error.wrap(Native.close(ref))
      {:ok, index} -> Owner.close(index)
      {:error, _not_started} -> :ok
    end
  end

  @doc """
  Starts an index in a supervision tree.

  Besides those of `open/2` it takes the options `:path` (required, `:memory` is allowed) and
  `:name`, an atom, by default `LsmIndex`: every function takes that name in place of the index.

      iex> {:ok, _owner} = LsmIndex.start_link(name: MyApp.Example, path: :memory)
      iex> LsmIndex.put(MyApp.Example, "user:42", 7)
      iex> LsmIndex.get(MyApp.Example, "user:42")
      [7]
  """
  @spec start_link(keyword) :: GenServer.on_start() | {:error, Error.t()}
  def start_link(options) do
    with {:ok, name, location, options} <- Options.start_options(options),
         do: Owner.start_link(name, location, options)
  end

  @doc """
  The specification of an index for a supervisor, see `start_link/1`. Its id is the name. An
  index that crashes is started again, one that is closed is not.

      iex> LsmIndex.child_spec(name: MyApp.Routes, path: "routes").id
      MyApp.Routes
  """
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    %{
      id: Keyword.get(options, :name, LsmIndex),
      start: {LsmIndex, :start_link, [options]},
      restart: :transient,
      shutdown: 60_000
    }
  end

  @doc """
  Adds `id` to the ids of `key`; it may be there already.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, "user:42", 7)
      :ok
      iex> {:error, error} = LsmIndex.put(index, "user:42", -1)
      iex> error.reason
      :id_out_of_range
  """
  @spec put(index, key, id) :: :ok | {:error, Error.t()}
  def put(%LsmIndex{durability: :memory, ref: ref} = index, key, id) do
    case Native.put(ref, key, id) do
      :busy -> done(Writer.wait(index, :put, key, id))
      changed -> done(changed)
    end
  end

  def put(%LsmIndex{} = index, key, id), do: done(Writer.change(index, :put, key, id))
  def put(name, key, id) when is_atom(name), do: put(name, key, id, [])

  @doc "As `put/3`, with a durability of its own."
  @spec put(index, key, id, change_options) :: :ok | {:error, Error.t()}
  def put(index, key, id, options),
    do: with({:ok, index} <- Options.for_call(index, options), do: put(index, key, id))

  @doc """
  Removes `id` from the ids of `key`; it may be absent.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, "user:42", 7)
      iex> LsmIndex.delete(index, "user:42", 7)
      :ok
      iex> LsmIndex.get(index, "user:42")
      []
  """
  @spec delete(index, key, id) :: :ok | {:error, Error.t()}
  def delete(%LsmIndex{durability: :memory, ref: ref} = index, key, id) do
    case Native.delete(ref, key, id) do
      :busy -> done(Writer.wait(index, :delete, key, id))
      changed -> done(changed)
    end
  end

  def delete(%LsmIndex{} = index, key, id), do: done(Writer.change(index, :delete, key, id))
  def delete(name, key, id) when is_atom(name), do: delete(name, key, id, [])

  @doc "As `delete/3`, with a durability of its own."
  @spec delete(index, key, id, change_options) :: :ok | {:error, Error.t()}
  def delete(index, key, id, options),
    do: with({:ok, index} <- Options.for_call(index, options), do: delete(index, key, id))

  @doc """
  Makes all changes of a list at one moment or, if any is wrong, none; a crash leaves all of them or
  none as well. Of several changes of a pair the last one counts.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.write(index, [{:put, "a", 1}, {:put, "b", 2}, {:delete, "a", 1}])
      :ok
      iex> LsmIndex.get_many(index, ["a", "b"])
      [[], [2]]
  """
  @spec write(index, [op]) :: :ok | {:error, Error.t()}
  def write(%LsmIndex{durability: :memory, ref: ref} = index, ops) do
    case if(Bounds.few_changes?(ops), do: Native.write(ref, ops), else: :large) do
      :busy -> done(Writer.wait(index, ops))
      :large -> done(Writer.write(index, ops))
      changed -> done(changed)
    end
  end

  def write(%LsmIndex{} = index, ops), do: done(Writer.write(index, ops))
  def write(name, ops) when is_atom(name), do: write(name, ops, [])

  @doc "As `write/2`, with a durability of its own."
  @spec write(index, [op], change_options) :: :ok | {:error, Error.t()}
  def write(index, ops, options),
    do: with({:ok, index} <- Options.for_call(index, options), do: write(index, ops))

  defp done({:error, native}), do: {:error, Error.from_native(native)}
  defp done(_changed), do: :ok

  @doc """
  Adds all pairs of an enumerable of `{key, id}`, straight into segments; gives their number.

  The fast way to fill an index; only a few thousand pairs are held as terms. It is no batch: the
  pairs appear lane by lane, and if an element is wrong or the enumerable raises, some of those
  before it may have been added. To load the same again does no harm.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.load(index, Stream.map(1..1000, &{"user:\#{&1}", &1}))
      {:ok, 1000}
      iex> LsmIndex.get(index, "user:42")
      [42]
      iex> {:error, error} = LsmIndex.load(index, [{"a", 1}, {"b", :two}])
      iex> {error.detail.position, error.detail.element}
      {1, {"b", :two}}
  """
  @spec load(index, Enumerable.t()) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def load(index, pairs) do
    with {:ok, index} <- Names.fetch(index), do: Loader.load(index, pairs)
  end

  @doc """
  The ids of `key`, ascending; none is `[]`.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.get(index, "user:42")
      []
  """
  @spec get(index, key) :: [id]
  def get(%LsmIndex{ref: ref}, key) do
    case Native.get(ref, key) do
      :large -> read(Native.get_dirty(ref, key))
      answer -> read(answer)
    end
  end

  def get(name, key) when is_atom(name), do: get(Names.fetch!(name), key)

  @doc """
  The ids of each key, in the order of the keys; per key much faster than `get/2`. A write may come
  between two of them.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, "b", 2)
      iex> LsmIndex.get_many(index, ["a", "b", "b"])
      [[], [2], [2]]
  """
  @spec get_many(index, [key]) :: [[id]]
  def get_many(%LsmIndex{ref: ref}, keys) do
    case if(Bounds.few_keys?(keys), do: Native.get_many(ref, keys), else: :large) do
      :large -> read(Native.get_many_dirty(ref, keys))
      answer -> read(answer)
    end
  end

  def get_many(name, keys) when is_atom(name), do: get_many(Names.fetch!(name), keys)

  @doc """
  Whether `id` is one of the ids of `key`.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, "user:42", 7)
      iex> {LsmIndex.member?(index, "user:42", 7), LsmIndex.member?(index, "user:42", 8)}
      {true, false}
  """
  @spec member?(index, key, id) :: boolean
  def member?(%LsmIndex{ref: ref}, key, id), do: read(Native.member(ref, key, id))
  def member?(name, key, id) when is_atom(name), do: member?(Names.fetch!(name), key, id)

  @doc """
  All distinct ids of the index, ascending. Reads the whole index; a write may come between.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.write(index, [{:put, "a", 2}, {:put, "b", 2}, {:put, "c", 1}])
      iex> LsmIndex.ids(index)
      [1, 2]
  """
  @spec ids(index) :: [id]
  def ids(index), do: read(Native.ids(Names.fetch!(index).ref))

  @doc """
  Whether no key has an id.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.empty?(index)
      true
  """
  @spec empty?(index) :: boolean
  def empty?(index), do: count(index) == 0

  @doc """
  The number of keys that have an id: exact, and known without counting.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.write(index, [{:put, "a", 1}, {:put, "a", 2}, {:put, "b", 1}])
      iex> LsmIndex.count(index)
      2
  """
  @spec count(index) :: non_neg_integer
  def count(index), do: read(Native.count(Names.fetch!(index).ref))

  @doc """
  Writes the changes in memory to segments, lane after lane. With a path, those made before are
  on stable storage then, as after `sync/1`.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.put(index, "a", 1)
      iex> LsmIndex.flush(index)
      :ok
      iex> LsmIndex.stats(index).total_overlay_entries
      0
  """
  @spec flush(index) :: :ok | {:error, Error.t()}
  def flush(index), do: with({:ok, index} <- Names.fetch(index), do: Upkeep.flush(index))

  @doc """
  Merges every lane into one segment: the least memory, and the fastest look-ups. Ids of terms that
  no key leads to are free after it.

  Compaction also goes on by itself; this is for the end of a load, or a quiet hour.

      iex> {:ok, index} = LsmIndex.open(:memory, num_lanes: 1)
      iex> LsmIndex.put(index, "a", 1)
      iex> LsmIndex.compact(index)
      :ok
      iex> LsmIndex.stats(index).total_segments
      1
  """
  @spec compact(index) :: :ok | {:error, Error.t()}
  def compact(index), do: with({:ok, index} <- Names.fetch(index), do: Upkeep.compact(index))

  @doc """
  Reads the files of an index into memory, so that no look-up waits for the device; the number of
  bytes. They stay for as long as the system has no better use for the memory.

  The option `:progress` is a function that is called after each lane with a map of `:bytes` read so
  far, `:lanes` done and `:of_lanes`.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.warm(index)
      {:ok, 0}
  """
  @spec warm(index, progress: (map -> any)) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def warm(index, options \\ []),
    do: with({:ok, index} <- Names.fetch(index), do: Upkeep.warm(index, options))

  @doc """
  Returns when every change made before is on stable storage, whatever its durability. In memory
  there is nothing to do.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.sync(index)
      :ok
  """
  @spec sync(index) :: :ok | {:error, Error.t()}
  def sync(index) do
    with {:ok, %LsmIndex{ref: ref}} <- Names.fetch(index), do: Error.wrap(Native.sync(ref))
  end

  @doc """
  Says how far the index has seen, for instance a position in the log of the database that it
  follows: any term whose encoding has 191 bytes at the most.

  A stamp is in order with the changes before it. After a crash, `stamp/1` gives one that was put
  here, and all changes that returned before that one was put are there (those with the stamp's
  durability, which is the index's unless `durability:` says otherwise). It is no key: `count/1` and
  `ids/1` know nothing of it.

  An opening with `recover: :salvage` that left something out takes the stamp away, and so does a
  `repair/2` that lost something (unless that is cut short): reconcile then, or rebuild.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.stamp(index)
      nil
      iex> LsmIndex.put_stamp(index, {:lsn, 0x16B3748})
      iex> LsmIndex.stamp(index)
      {:lsn, 0x16B3748}
  """
  @spec put_stamp(index, term, change_options) :: :ok | {:error, Error.t()}
  def put_stamp(index, stamp, options \\ []) do
    with {:ok, %LsmIndex{ref: ref, durability: durability}} <- Options.for_call(index, options),
         do: Error.wrap(Native.put_stamp(ref, stamp, durability))
  end

  @doc "The stamp that was put last, `nil` if there is none."
  @spec stamp(index) :: term
  def stamp(index), do: read(Native.stamp(Names.fetch!(index).ref))

  @doc """
  Bounds what the background work of all indexes of the VM writes to segments, in bytes per second,
  from now on; `:infinity` (the default) takes the bound away.

  Flushes and merges of every index count, and the next piece of background work waits until they
  have had their time. Writers that find their lane full do not wait for that: they flush it
  themselves. So a bound that is too low costs them time, and never fails. The application's
  environment sets it at the start: `config :lsm_index, pace: 50_000_000`.

      iex> LsmIndex.set_pace(50_000_000)
      :ok
      iex> LsmIndex.set_pace(:infinity)
      :ok
  """
  @spec set_pace(pos_integer | :infinity) :: :ok
  def set_pace(:infinity), do: Native.set_pace(0)

  def set_pace(bytes_per_second)
      when is_integer(bytes_per_second) and bytes_per_second > 0,
      do: Native.set_pace(min(bytes_per_second, 0xFFFF_FFFF_FFFF))

  @doc """
  Counters of the index: `:num_lanes`, `:total_overlay_entries`, `:total_segment_entries`,
  `:total_segments`, `:total_entries` and others.

  `:write_amplification` is how often a key was written to segments on average since the index was
  opened, `:space_amplification` how many entries there are for each key.

      iex> {:ok, index} = LsmIndex.open(:memory, num_lanes: 8)
      iex> LsmIndex.stats(index).num_lanes
      8
  """
  @spec stats(index) :: %{atom => term}
  def stats(index), do: read(Native.stats(Names.fetch!(index).ref))

  @doc """
  Bytes of native memory by part, and their sum as `:total`; what is in the segments, as
  `:sections`.

      iex> {:ok, index} = LsmIndex.open(:memory)
      iex> LsmIndex.memory(index).total > 0
      true
  """
  @spec memory(index) :: %{atom => non_neg_integer | %{atom => non_neg_integer}}
  def memory(index), do: read(Native.memory(Names.fetch!(index).ref))

  @doc """
  Reads and checks every byte of the index at `path`, open or closed, and reports what is there.

  `:checked` in the report lists every file with its length and whether it is sound. If one is not,
  the error is the first fault, and `detail.report` the report, with all of them in `:faults`.

  The option `:progress` is a function that is called now and then with a map of `:bytes` checked
  and `:of_bytes`.

      iex> match?({:error, %{reason: :not_found}}, LsmIndex.verify("no/such/place"))
      true
  """
  @spec verify(String.t(), progress: (map -> any)) :: {:ok, map} | {:error, Error.t()}
  def verify(path, options \\ []), do: Files.verify(path, options)

  @doc """
  Makes the damaged index at `path`, which must be closed, openable again; tells what is done.

  Without `apply: true` it is a dry run: it tells the same and changes nothing. Each remedy is a map
  of the damaged `:path`, its `:fault`, and what is `:lost`: `:nothing` if the file can be made anew
  from others, `{:keys, n}` for the newest records of `n` keys, whose sets are then what older
  segments say, or empty, `:unknown_keys`, `{:terms, terms, pairs}`, or `{:log_bytes, n}` for changes
  that no segment has. Damaged files are kept, in the directory's `quarantine`.

      iex> match?({:error, %{reason: :not_found}}, LsmIndex.repair("no/such/place"))
      true
  """
  @spec repair(String.t(), apply: boolean) :: {:ok, [map]} | {:error, Error.t()}
  def repair(path, options \\ []), do: Files.repair(path, options)

  defp read({:error, native}), do: raise(Error.from_native(native))
  defp read(answer), do: answer
end
