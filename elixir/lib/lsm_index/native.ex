defmodule LsmIndex.Native do
  @moduledoc false
  # The NIFs, exactly as the Rust side offers them: one stub each. Errors come back as
  # `{:error, {reason, message, detail}}`; `:busy` and `:large` ask for the dirty twin of the call.
  # Only the modules of this library call them.

  @on_load :load_nif

  @type ref :: reference
  @type loader :: reference
  @type listing :: reference
  @type verifier :: reference
  @type reconciler :: reference
  @type error :: {:error, {reason :: atom, message :: String.t(), detail :: map}}
  # Of routes; those of the index itself can be terms as well.
  @type key :: binary
  @type any_key :: LsmIndex.key()
  @type id :: non_neg_integer
  @type op :: {:put, any_key, id} | {:delete, any_key, id}
  # `nil` for the index itself, any other term for a namespace.
  @type name :: term
  # A small integer is stored as it is, and not in namespaces.
  @type target ::
          non_neg_integer | {id :: term} | {id :: term, rest :: term} | [condition :: term]
  # The ids with nothing left of their clauses; `{id, rest}` and `[condition]`.
  @type targets :: {ids :: [term], others :: [term]}
  @type routed :: :changed | :unchanged | :emptied | :busy
  @type durability :: :memory | :os | :sync

  @doc false
  def load_nif do
    library = Path.join([:code.priv_dir(:lsm_index), "native", "liblsm_index"])

    case :erlang.load_nif(String.to_charlist(library), 0) do
      :ok ->
        :ok

      {:error, {_reason, text}} ->
        why = text |> to_string() |> String.trim_trailing(".")

        message =
          "lsm_index: cannot load its NIF library #{library}: #{why}. " <>
            "`mix compile --force` builds it; LSM_INDEX_NIF_PATH names a prebuilt one for that"

        # For the application, which has to say why it does not start.
        :persistent_term.put(__MODULE__, message)
        {:error, message}
    end
  end

  @spec new_memory(map) :: ref | error
  def new_memory(_options), do: not_loaded()

  @spec open(String.t(), map) :: {:ok, ref} | error
  def open(_path, _options), do: not_loaded()

  @spec close(ref) :: :ok | error
  def close(_ref), do: not_loaded()

  @spec text_key(type :: atom, text :: binary) :: key | :error
  def text_key(_type, _text), do: not_loaded()

  @spec put(ref, any_key, id) :: boolean | :busy | error
  def put(_ref, _key, _id), do: not_loaded()

  @spec delete(ref, any_key, id) :: boolean | :busy | error
  def delete(_ref, _key, _id), do: not_loaded()

  @spec change_dirty(ref, :put | :delete, any_key, id, durability, wait :: boolean) ::
          boolean | :busy | error
  def change_dirty(_ref, _op, _key, _id, _durability, _wait), do: not_loaded()

  @spec write(ref, [op]) :: non_neg_integer | :busy | :large | error
  def write(_ref, _ops), do: not_loaded()

  @spec write_dirty(ref, [op], durability, wait :: boolean) :: non_neg_integer | :busy | error
  def write_dirty(_ref, _ops, _durability, _wait), do: not_loaded()

  @spec get(ref, any_key) :: [id] | :large | error
  def get(_ref, _key), do: not_loaded()

  @spec get_dirty(ref, any_key) :: [id] | error
  def get_dirty(_ref, _key), do: not_loaded()

  @spec get_many(ref, [any_key]) :: [[id]] | :large | error
  def get_many(_ref, _keys), do: not_loaded()

  @spec get_many_dirty(ref, [any_key]) :: [[id]] | error
  def get_many_dirty(_ref, _keys), do: not_loaded()

  @spec member(ref, any_key, id) :: boolean | error
  def member(_ref, _key, _id), do: not_loaded()

  @spec count(ref) :: non_neg_integer | error
  def count(_ref), do: not_loaded()

  @spec ids(ref) :: [id] | error
  def ids(_ref), do: not_loaded()

  @spec warm_lane(ref, lane :: non_neg_integer) :: non_neg_integer | error
  def warm_lane(_ref, _lane), do: not_loaded()

  @spec flush_lane(ref, lane :: non_neg_integer) :: :ok | error
  def flush_lane(_ref, _lane), do: not_loaded()

  @spec round_begin(ref) :: pos_integer | error
  def round_begin(_ref), do: not_loaded()

  @spec round_step(ref, round :: pos_integer) :: :more | :done | error
  def round_step(_ref, _round), do: not_loaded()

  @spec work_step(ref) :: :more | :done | {:wait, pos_integer} | error
  def work_step(_ref), do: not_loaded()

  @spec sync(ref) :: :ok | error
  def sync(_ref), do: not_loaded()

  @spec stats(ref) :: map | error
  def stats(_ref), do: not_loaded()

  @spec memory(ref) :: map | error
  def memory(_ref), do: not_loaded()

  @spec set_pace(non_neg_integer) :: :ok
  def set_pace(_bytes_per_second), do: not_loaded()

  @spec set_compactor(ref, pid) :: :ok | error
  def set_compactor(_ref, _pid), do: not_loaded()

  @spec verify_begin(String.t()) :: {:ok, verifier} | error
  def verify_begin(_path), do: not_loaded()

  @spec verify_step(verifier) :: {:more, map} | {:done, map} | error
  def verify_step(_verifier), do: not_loaded()

  @spec repair(String.t(), apply :: boolean) :: {:ok, [map]} | error
  def repair(_path, _apply), do: not_loaded()

  @spec load_begin(ref, most_held :: pos_integer) :: loader | error
  def load_begin(_ref, _most_held), do: not_loaded()

  @spec load_add(loader, [{any_key, id}]) :: non_neg_integer | :full | error
  def load_add(_loader, _pairs), do: not_loaded()

  @spec load_drain(loader) :: :more | {:done, non_neg_integer} | error
  def load_drain(_loader), do: not_loaded()

  @spec load_step(loader) :: :more | {:done, non_neg_integer} | error
  def load_step(_loader), do: not_loaded()

  @spec term_key(term) :: key | :error | :large
  def term_key(_term), do: not_loaded()

  @spec term_key_dirty(term) :: key | :error
  def term_key_dirty(_term), do: not_loaded()

  @spec route_put(ref, name, key, target) :: routed | :large | error
  def route_put(_ref, _name, _key, _target), do: not_loaded()

  @spec route_delete(ref, name, key, target) :: routed | :large | error
  def route_delete(_ref, _name, _key, _target), do: not_loaded()

  @spec route_dirty(ref, :put | :delete, name, key, target, durability, wait :: boolean) ::
          routed | error
  def route_dirty(_ref, _op, _name, _key, _target, _durability, _wait), do: not_loaded()

  @spec route_get(ref, name, key) :: targets | :large | error
  def route_get(_ref, _name, _key), do: not_loaded()

  @spec route_get_dirty(ref, name, key) :: targets | error
  def route_get_dirty(_ref, _name, _key), do: not_loaded()

  @spec text_get(ref, name, type :: atom | [atom], text :: binary) ::
          targets | :error | :large | error
  def text_get(_ref, _name, _types, _text), do: not_loaded()

  @spec text_get_in(ref, name_code :: binary, type :: atom | [atom], text :: binary) ::
          targets | :error | :large | error
  def text_get_in(_ref, _name_code, _types, _text), do: not_loaded()

  @spec name_code(name) :: binary | :large | error
  def name_code(_name), do: not_loaded()

  @spec text_get_many(ref, [{name, type :: atom | [atom], text :: binary}]) ::
          [targets | :error] | :large | error
  def text_get_many(_ref, _questions), do: not_loaded()

  @spec text_get_many_dirty(ref, [{name, type :: atom | [atom], text :: binary}]) ::
          [targets | :error] | error
  def text_get_many_dirty(_ref, _questions), do: not_loaded()

  @spec list_begin(ref, name) :: listing | error
  def list_begin(_ref, _name), do: not_loaded()

  @spec list_set(ref, name) :: {%{optional(id :: term) => []}, others :: [term]} | error
  def list_set(_ref, _name), do: not_loaded()

  @spec list_names(ref) :: listing | error
  def list_names(_ref), do: not_loaded()

  @spec list_next(listing) :: targets | :done | :large | error
  def list_next(_listing), do: not_loaded()

  @spec list_next_dirty(listing) :: targets | :done | error
  def list_next_dirty(_listing), do: not_loaded()

  @spec namespace_count(ref, name) :: non_neg_integer | error
  def namespace_count(_ref, _name), do: not_loaded()

  @spec namespace_drop(ref, name, durability) :: boolean | :busy | error
  def namespace_drop(_ref, _name, _durability), do: not_loaded()

  @spec reconcile_begin(ref, in_namespaces :: boolean) :: reconciler | error
  def reconcile_begin(_ref, _in_namespaces), do: not_loaded()

  @spec reconcile_name(reconciler, [{name, key, target}]) :: [boolean] | error
  def reconcile_name(_reconciler, _routes), do: not_loaded()

  @spec reconcile_step(reconciler, durability) :: :more | {:done, non_neg_integer} | error
  def reconcile_step(_reconciler, _durability), do: not_loaded()

  @spec reconcile_end(reconciler) :: :ok
  def reconcile_end(_reconciler), do: not_loaded()

  @spec put_stamp(ref, term, durability) :: :ok | error
  def put_stamp(_ref, _stamp, _durability), do: not_loaded()

  @spec stamp(ref) :: term | error
  def stamp(_ref), do: not_loaded()

  @spec stamp_pending(ref) :: {number :: pos_integer, stamp :: binary} | nil | error
  def stamp_pending(_ref), do: not_loaded()

  @spec stamp_write(ref, number :: pos_integer, stamp :: binary) :: :ok | error
  def stamp_write(_ref, _number, _stamp), do: not_loaded()

  defp not_loaded, do: :erlang.nif_error(:nif_not_loaded)
end
