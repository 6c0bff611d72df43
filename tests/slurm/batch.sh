#!/bin/bash
#SBATCH --job-name=J003-refine3d-0a1b2c3d
#SBATCH --comment='{"thon": "0a1b2c3d", "project": "my project", "job": "J003-refine3d", "lane": "gpu", "instance": "g5.xlarge", "price": 1.12}'
#SBATCH --chdir='/data/my project/J003-refine3d'
#SBATCH --output='/data/my project/J003-refine3d/batch.log'
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks=2
#SBATCH --partition=gpu,gpu-long
#SBATCH --account='cryo em'
#SBATCH --qos=normal
#SBATCH --constraint='ib&avx512'
#SBATCH --cpus-per-task=8
#SBATCH --mem=64500M
#SBATCH --gpus-per-task=1
#SBATCH --time=1440
#SBATCH --signal=TERM@120
#SBATCH --exclusive

module load cuda/12.4
export THON_LANE=gpu
export THON_INSTANCE=g5.xlarge
export THON_PRICE=1.12
export THON_CURRENCY=EUR
export THON_SPOT=yes
export TMPDIR='/scratch/$USER dir'
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))

exec srun --kill-on-bad-exit=1 --cpu-bind=none --mpi=none /opt/thon/bin/python -P -m thon.engine.slurm.worker '/data/my project/J003-refine3d'
