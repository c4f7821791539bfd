# shellcheck shell=sh
# To be sourced by any shell, before or after VOLUME is set: all that is fetched or made lies on the volume.
export VOLUME="${VOLUME:-/workspace}"
export UV_CACHE_DIR="$VOLUME/cache/uv" UV_PYTHON_INSTALL_DIR="$VOLUME/python"
export PIP_CACHE_DIR="$VOLUME/cache/pip"
export HF_HOME="$VOLUME/cache/huggingface"
export TORCH_HOME="$VOLUME/cache/torch" TRITON_CACHE_DIR="$VOLUME/cache/triton"
export WANDB_CACHE_DIR="$VOLUME/cache/wandb" WANDB_CONFIG_DIR="$VOLUME/cache/wandb-config"
export MPLCONFIGDIR="$VOLUME/cache/matplotlib"
export MS_ASSET_DIR="$VOLUME/cache/maniskill"
export XDG_CACHE_HOME="$VOLUME/cache" # also our native code, compiled
# Many network volumes refuse HDF5's locks.
export HDF5_USE_FILE_LOCKING=FALSE
case ":$PATH:" in *":$VOLUME/bin:"*) ;; *) export PATH="$VOLUME/bin:$PATH" ;; esac
