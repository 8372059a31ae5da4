import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { machinesQuery } from "../api/queries";

interface MachineLinkProps {
  gateway: string;
  machine: string;
  /** Opens the trend with this tag; null with what is proposed there. */
  tag: string | null;
}

export function MachineLink({ gateway, machine, tag }: MachineLinkProps) {
  const { tenant } = useParams({ from: "/$tenant" });
  const machines = useQuery(machinesQuery(tenant)).data?.items;
  const name = machines?.find((each) => each.gateway === gateway && each.id === machine)?.name;
  return (
    <Link to="/$tenant/machines/$gateway/$machine" params={{ tenant, gateway, machine }} search={tag === null ? {} : { tags: tag }} style={{ whiteSpace: "nowrap" }}>
      {name ?? machine}
    </Link>
  );
}
